#include "base/json.h"
#include "gateway/generate_job.h"

namespace trireme {
namespace {

json::array scores_json(const std::vector<TokenScore>& scores) {
  json::array list;
  for (const TokenScore& score : scores) list.push_back({{"token_id", score.id}, {"logprob", score.logprob}});
  return list;
}

json::value logprobs_json(const ChoiceRecord& record) {
  json::array list;
  for (size_t i = 0; i < record.ids.size(); ++i)
    list.push_back({{"token_id", record.ids[i]},
                    {"logprob", record.logprobs[i]},
                    {"rank", record.ranks[i]},
                    {"top", scores_json(record.top[i])}});
  return list;
}

// Nothing comes before the first token, so that its place is null.
json::value prompt_logprobs_json(const FinishedPrompt& prompt) {
  json::array list{nullptr};
  for (size_t i = 0; i < prompt.prompt_scores.size(); ++i)
    list.push_back({{"token_id", prompt.prompt_scores[i].id},
                    {"logprob", prompt.prompt_scores[i].logprob},
                    {"top", scores_json(prompt.prompt_top[i])}});
  return list;
}

json::object output_json(const FinishedChoice& choice, const OutputOptions& options) {
  json::object output;
  output["token_ids"] = json::value_from(choice.record.ids);
  output["text"] = choice.text;
  output["finish_reason"] = finish_reason_name(choice.finish);
  output["cumulative_logprob"] = choice.record.cumulative_logprob();
  output["score"] = options.is_beam_search ? json::value(choice.record.beam_score) : json::value();
  output["logprobs"] = options.logprobs ? logprobs_json(choice.record) : json::value();
  return output;
}

}  // namespace

std::string json_line(const FinishedPrompt& prompt) {
  json::object line;
  line["index"] = prompt.index;
  line["prompt"] = prompt.prompt;
  line["prompt_ids"] = json::value_from(prompt.prompt_ids);
  if (!prompt.error.empty()) {
    line["error"] = prompt.error;
    return json::serialize(line);
  }
  if (prompt.output.prompt_logprobs) line["prompt_logprobs"] = prompt_logprobs_json(prompt);
  json::array outputs;
  for (const FinishedChoice& choice : prompt.choices) outputs.push_back(output_json(choice, prompt.output));
  line["outputs"] = std::move(outputs);
  return json::serialize(line);
}

}  // namespace trireme
