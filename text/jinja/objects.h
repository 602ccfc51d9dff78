#pragma once
// The objects a template makes: macros, loops, namespaces.

#include "text/jinja/evaluator.h"

namespace trireme::jinja {

class Macro final : public Object {
 public:
  Macro(std::string name, const Signature& signature, const Body& body, ScopePtr scope)
      : name_(std::move(name)), signature_(signature), body_(body), scope_(std::move(scope)) {}
  const char* type_name() const override { return "Macro"; }
  Value attribute(const std::string& name) const override;
  bool callable() const override { return true; }
  Value call(Evaluator& evaluator, const Arguments& arguments) override;
  void clear() override { scope_.reset(); }

 private:
  std::string name_;
  const Signature& signature_;
  const Body& body_;
  ScopePtr scope_;
};

// `loop` inside a for block.
class Loop final : public Object, public std::enable_shared_from_this<Loop> {
 public:
  Loop(const Statement& statement, const Values& items, ScopePtr scope, int depth)
      : statement_(statement), items_(items), scope_(std::move(scope)), depth_(depth) {}
  const char* type_name() const override { return "LoopContext"; }
  Value attribute(const std::string& name) const override;
  bool callable() const override { return statement_.recursive; }
  Value call(Evaluator& evaluator, const Arguments& arguments) override;  // runs the loop again, one level deeper
  void clear() override;
  void set_index(size_t index) { index_ = index; }
  const Value& item(size_t index) const { return items_[index]; }
  bool changed(Evaluator& evaluator, const Values& values);

 private:
  const Statement& statement_;
  Values items_;
  ScopePtr scope_;
  int depth_;
  size_t index_ = 0;
  Values last_changed_;
  bool seen_ = false;
};

class Namespace final : public Object {
 public:
  const char* type_name() const override { return "Namespace"; }
  Value attribute(const std::string& name) const override;
  bool set_attribute(const std::string& name, const Value& value) override;
  void clear() override { values_ = Dict(); }

 private:
  Dict values_;
};

}  // namespace trireme::jinja
