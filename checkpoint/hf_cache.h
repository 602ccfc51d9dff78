#pragma once
// Where the Hugging Face tools keep what they downloaded. Read only; nothing is fetched.

#include <optional>
#include <string>

namespace trireme {

// "org/name", or "name" alone as some old models have it, by the hub's own rules: letters, digits, '.', '_' and
// '-'; no ".." or "--"; no '.' or '-' at either end of a part; at most 96 characters.
bool is_repository_name(const std::string& model);

// $HF_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub. Empty
// variables count as unset; empty when none leads anywhere.
std::string hub_cache_directory();

// The snapshot of the model's main branch: models--org--name/snapshots/<refs/main>. Empty when it is not there;
// throws CheckpointError when refs/main does not hold a commit.
std::optional<std::string> find_in_hub_cache(const std::string& model);

}  // namespace trireme
