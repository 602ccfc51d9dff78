"""Runs transformers' generate and measures how close its decisions were.

A comparison of ids is only fair where no rounding error can turn a decision. Every run therefore returns its smallest
`gap`: the least difference between two scores whose order decided something:
  greedy   the two largest processed logits of each step
  beams    the last candidate that runs on and the first that does not; the last candidate that may finish and the
           first that may not, where one of the two ends; the last of the K candidates looked at and the next one, where
           too few others run on; neighbours among the finished beams' scores; and the best possible running score
           against the worst finished one, where that can end the search
A run in which a beam of hopeless score (about -1e9) runs on has gap 0: its ties are decided by the sort's order.
"""

import contextlib

import torch
import transformers

_HOPELESS = -1e8
_Mixin = transformers.generation.utils.GenerationMixin


class _Gaps:
    """Patches the steps of GenerationMixin._beam_search while a run lasts."""

    def __init__(self):
        self.smallest = float("inf")
        self._next_best = None

    def note(self, larger, smaller):
        if smaller > _HOPELESS:
            self.smallest = min(self.smallest, float(larger - smaller))

    def top_k(self, original, mixin, **arguments):
        scores, keep = arguments["accumulated_log_probs"], arguments["beams_to_keep"]
        self._next_best = torch.topk(scores, keep + 1).values[0, -1]
        return original(mixin, **arguments)

    def running(self, original, mixin, **arguments):
        scores, ends = arguments["topk_log_probs"][0], arguments["next_token_hits_stopping_criteria"][0]
        width = arguments["num_beams"]
        going = scores[~ends]
        if len(going) and (len(going) < width or going[width - 1] < _HOPELESS):
            self.smallest = 0.0
        if len(going) > width:
            self.note(going[width - 1], going[width])
        if ends[width - 1] or ends[width]:
            self.note(scores[width - 1], scores[width])
        if 0 < len(going) <= width or (len(going) == width + 1 and not ends[-1]):
            self.note(scores[-1], self._next_best)
        return original(mixin, **arguments)

    def finished(self, original, mixin, **arguments):
        ended = arguments["next_token_hits_stopping_criteria"] & arguments["top_num_beam_mask"][None, :]
        closed = (bool(arguments["is_sent_finished"].all()) and arguments["early_stopping"] is True)
        length = arguments["cur_len"] + 1 - arguments["decoder_prompt_len"]
        scores = arguments["beam_scores"][0]
        if not closed and bool(arguments["is_early_stop_heuristic_unsatisfied"].all()):
            scores = torch.cat((scores, arguments["topk_log_probs"][ended] / length ** arguments["length_penalty"]))
        scores = scores.sort(descending=True).values[:arguments["num_beams"] + 1]
        for larger, smaller in zip(scores, scores[1:]):
            self.note(larger, smaller)
        return original(mixin, **arguments)

    def heuristic(self, original, **arguments):
        if bool(arguments["is_sent_finished"].all()) and bool(arguments["is_early_stop_heuristic_unsatisfied"].all()):
            penalty, prompt = arguments["length_penalty"], arguments["decoder_prompt_len"]
            longest = arguments["early_stopping"] == "never" and penalty > 0
            length = (arguments["max_length"] if longest else arguments["cur_len"]) - prompt
            best = arguments["running_beam_scores"][0, 0] / length**penalty
            if best > _HOPELESS:
                self.smallest = min(self.smallest, abs(float(best - arguments["beam_scores"].min())))
        return original(**arguments)

    @contextlib.contextmanager
    def watching(self):
        steps = {"_get_top_k_continuations": self.top_k, "_get_running_beams_for_next_iteration": self.running,
                 "_update_finished_beams": self.finished}
        originals = {name: _Mixin.__dict__[name] for name in [*steps, "_check_early_stop_heuristic"]}

        def patched(name, watch):
            return lambda mixin, **arguments: watch(originals[name], mixin, **arguments)

        for name, watch in steps.items():
            setattr(_Mixin, name, patched(name, watch))
        check = originals["_check_early_stop_heuristic"].__func__
        _Mixin._check_early_stop_heuristic = staticmethod(lambda **arguments: self.heuristic(check, **arguments))
        try:
            yield
        finally:
            for name, original in originals.items():
                setattr(_Mixin, name, original)


class Oracle:
    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model.eval(), tokenizer
        model.generation_config = transformers.GenerationConfig()  # nothing that a case does not say
        self.runs = 0

    def configuration(self, case):
        """Hugging Face's names for a case (fields: make_generation_goldens.py)."""
        fields = {"max_new_tokens": case["max_new_tokens"], "do_sample": False, "num_beams": case.get("beam_width", 1),
                  "num_return_sequences": case.get("n", 1), "use_cache": True, "return_dict_in_generate": True,
                  "output_scores": True}
        if "beam_width" in case:
            fields |= {name: case[name] for name in ("length_penalty", "early_stopping") if name in case}
        for name in ("min_new_tokens", "repetition_penalty", "no_repeat_ngram_size"):
            if name in case:
                fields[name] = case[name]
        if case.get("eos"):
            fields |= {"eos_token_id": case["eos"], "pad_token_id": case["eos"][0]}
        if "bad_words" in case:
            fields["bad_words_ids"] = case["bad_words"]
        if "logit_bias" in case:
            fields["sequence_bias"] = {(token,): value for token, value in case["logit_bias"]}
        if "stop" in case:
            fields["stop_strings"] = case["stop"]
        return transformers.GenerationConfig(**fields)

    @torch.no_grad()
    def run(self, prompt, case):
        """Returns {"outputs": [ids ...], "scores": [...] of beams, "gap"}; ids without the prompt, the end id included."""
        self.runs += 1
        allowed, arguments = case.get("allowed_token_ids"), {}
        if allowed:
            arguments["prefix_allowed_tokens_fn"] = lambda _, ids: allowed
        if "stop" in case:
            arguments["tokenizer"] = self.tokenizer
        ids, gaps = torch.tensor([prompt]), _Gaps()
        with gaps.watching():
            out = self.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids),
                                      generation_config=self.configuration(case), **arguments)
        generated = out.sequences[:, len(prompt):]
        if "beam_width" not in case:
            for step in out.scores:
                gaps.note(*torch.topk(step[0], 2).values)
            return {"outputs": [generated[0].tolist()], "gap": round(gaps.smallest, 6)}
        lengths = (out.beam_indices >= 0).sum(dim=1).tolist()
        return {"outputs": [row[:length].tolist() for row, length in zip(generated, lengths)],
                "scores": [round(float(score), 6) for score in out.sequences_scores], "gap": round(gaps.smallest, 6)}
