#include "text/jinja/objects.h"

#include <algorithm>

#include "text/jinja/operations.h"

namespace trireme::jinja {
namespace {

// loop.cycle and loop.changed.
class LoopMethod final : public Object {
 public:
  LoopMethod(std::weak_ptr<Object> loop, size_t index, bool changed)
      : loop_(std::move(loop)), index_(index), changed_(changed) {}
  const char* type_name() const override { return "method"; }
  bool callable() const override { return true; }
  Value call(Evaluator& evaluator, const Arguments& arguments) override {
    const auto loop = loop_.lock();
    if (!loop) fail("this loop has ended");
    if (changed_) return static_cast<Loop&>(*loop).changed(evaluator, arguments.positional);
    if (arguments.positional.empty()) fail("no items for cycling given");
    return arguments.positional[index_ % arguments.positional.size()];
  }

 private:
  std::weak_ptr<Object> loop_;
  size_t index_;
  bool changed_;
};

}  // namespace

Value Macro::attribute(const std::string& name) const {
  return name == "name" ? Value(name_) : Object::attribute(name);
}

Value Macro::call(Evaluator& evaluator, const Arguments& arguments) {
  auto scope = std::make_shared<Scope>();
  scope->parent = scope_;
  evaluator.bind_parameters(signature_, name_, arguments, scope);
  return evaluator.render_body(body_, scope);
}

Value Loop::attribute(const std::string& name) const {
  const int64_t index = int64_t(index_), length = int64_t(items_.size());
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return length - index;
  if (name == "revindex0") return length - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == length;
  if (name == "length") return length;
  if (name == "depth") return int64_t(depth_ + 1);
  if (name == "depth0") return int64_t(depth_);
  if (name == "previtem") return index > 0 ? items_[size_t(index - 1)] : Value::undefined("there is no previous item");
  if (name == "nextitem")
    return index + 1 < length ? items_[size_t(index + 1)] : Value::undefined("there is no next item");
  if (name == "cycle" || name == "changed") {
    const std::shared_ptr<Object> self = std::const_pointer_cast<Loop>(shared_from_this());
    return Value(std::shared_ptr<Object>(std::make_shared<LoopMethod>(self, index_, name == "changed")));
  }
  return Object::attribute(name);
}

Value Loop::call(Evaluator& evaluator, const Arguments& arguments) {
  if (arguments.positional.size() != 1) fail("loop() takes what to loop over");
  return evaluator.render_loop(statement_, arguments.positional[0], scope_, depth_ + 1);
}

bool Loop::changed(Evaluator& evaluator, const Values& values) {
  const bool same = seen_ && values.size() == last_changed_.size() &&
                    std::equal(values.begin(), values.end(), last_changed_.begin(),
                               [&](const Value& a, const Value& b) { return equal(evaluator.budget(), a, b); });
  last_changed_ = values;
  seen_ = true;
  return !same;
}

void Loop::clear() {
  items_.clear();
  last_changed_.clear();
  scope_.reset();
}

Value Namespace::attribute(const std::string& name) const {
  const Value* found = values_.find(std::string_view(name));
  return found ? *found : Object::attribute(name);
}

bool Namespace::set_attribute(const std::string& name, const Value& value) {
  if (name.starts_with('_'))
    fail("a namespace cannot hold '" + name + "': names that begin with an underscore are refused");
  values_.set(Value(name), value);
  return true;
}

}  // namespace trireme::jinja
