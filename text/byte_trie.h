#pragma once
// A set of byte strings with a value each; finds those that a text begins with, shortest first.

#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

namespace trireme {

class ByteTrie {
 public:
  void insert(std::string_view key, int32_t value) {  // value >= 0; a key's last value stays
    uint32_t node = 0;
    for (const char byte : key) {
      if (edges_.size() < (values_.size() + 1) * 2) grow();
      Edge& edge = edges_[slot_of(node, uint8_t(byte))];
      if (edge.child == 0) {
        edge = {uint64_t(node) << 8 | uint8_t(byte), uint32_t(values_.size())};
        values_.push_back(-1);
      }
      node = edge.child;
    }
    values_[node] = value;
  }

  // Calls visit(value, bytes) for every key that text[at..] begins with.
  template <typename Visitor>
  void visit_prefixes(std::string_view text, size_t at, Visitor visit) const {
    uint32_t node = 0;
    for (size_t i = at; i < text.size(); ++i) {
      node = edges_[slot_of(node, uint8_t(text[i]))].child;
      if (node == 0) return;
      if (values_[node] >= 0) visit(values_[node], i + 1 - at);
    }
  }

 private:
  struct Edge {
    uint64_t key = 0;    // node << 8 | byte
    uint32_t child = 0;  // 0: no edge
  };

  size_t slot_of(uint32_t node, uint8_t byte) const {
    const uint64_t key = uint64_t(node) << 8 | byte;
    size_t at = size_t((key * 0x9E3779B97F4A7C15u) >> 24) & (edges_.size() - 1);
    while (edges_[at].child != 0 && edges_[at].key != key) at = (at + 1) & (edges_.size() - 1);
    return at;
  }

  void grow() {
    std::vector<Edge> old(edges_.size() * 2);
    old.swap(edges_);
    for (const Edge& edge : old)
      if (edge.child != 0) edges_[slot_of(uint32_t(edge.key >> 8), uint8_t(edge.key))] = edge;
  }

  std::vector<int32_t> values_{-1};  // by node; node 0 is the root
  std::vector<Edge> edges_ = std::vector<Edge>(16);
};

}  // namespace trireme
