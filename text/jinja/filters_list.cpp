// Filters over lists and dicts. Where Jinja makes a generator, these make a list.
#include <algorithm>
#include <charconv>

#include "text/jinja/format.h"
#include "text/jinja/functions.h"
#include "text/jinja/operations.h"
#include "text/unicode.h"

namespace trireme::jinja {
namespace {

// "a.b.0" of an item, each part looked up as item[part] is; an integer as item[integer]. What is undefined on the
// way becomes `fallback` when there is one.
Value dotted(Evaluator& evaluator, Value item, const Value& path, const Value* fallback = nullptr) {
  const auto look_up = [&](const Value& key) {
    evaluator.budget().step();
    const Value found = evaluator.subscript_of(item, key);
    return found.is_undefined() && fallback ? *fallback : found;
  };
  if (!path.if_text()) return look_up(path);
  const std::string& text = path.if_text()->bytes();
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('.', at), text.size());
    const std::string part = text.substr(at, end - at);
    int64_t index = 0;
    const auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool numeric = error == std::errc() && stop == part.data() + part.size() && part[0] != '-';
    item = look_up(numeric ? Value(index) : Value(part));
    at = end + 1;
  }
  return item;
}

Value fold_case(const Value& value) { return value.if_text() ? Value(to_lower(value.if_text()->bytes())) : value; }

Value generator(Values items) { return Value::iterable(ListKind::generator, std::move(items), "generator"); }

bool is_plain_list(const Value& value) { return value.if_list() && value.if_list()->has_length() && value.truthy(); }

Value first_filter(Evaluator& evaluator, const Value& input, const Arguments&) {
  if (is_plain_list(input)) return input.if_list()->items.front();
  if (const List* list = input.if_list(); list && list->kind == ListKind::generator) {
    if (list->consumed < list->items.size()) return list->items[list->consumed++];
    return Value::undefined("no first item, sequence was empty");
  }
  Values items = items_of(evaluator.budget(), input);
  return items.empty() ? Value::undefined("no first item, sequence was empty") : items.front();
}

Value last_filter(Evaluator& evaluator, const Value& input, const Arguments&) {
  if (is_plain_list(input)) return input.if_list()->items.back();
  if (const List* list = input.if_list(); list && list->kind == ListKind::generator)
    fail("'generator' object is not reversible");
  Values items = items_of(evaluator.budget(), input);
  if (items.empty()) return Value::undefined("no last item, sequence was empty");
  const bool markup = input.if_text() && input.if_text()->is_markup();
  return markup ? Value(items.back().if_text()->as_markup()) : items.back();
}

Value list_filter(Evaluator& evaluator, const Value& input, const Arguments&) {
  return Value::list(items_of(evaluator.budget(), input));
}

Value join_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("join", arguments, {"d", "attribute"});
  Budget& budget = evaluator.budget();
  const Text separator = bound[0] ? to_text(budget, *bound[0]) : Text();
  Text out;
  bool first = true;
  for (const Value& item : items_of(budget, input)) {
    if (!std::exchange(first, false)) out.append(separator);
    out.append(to_text(budget, bound[1] && !bound[1]->is_none() ? dotted(evaluator, item, *bound[1]) : item));
    budget.step();
    budget.check_text(out.size() > kMaxTextBytes ? out.size() : separator.size());
  }
  budget.check_text(out.size());
  return out;
}

// map("upper"), map("default", x), map(attribute="name", default=x)
Value map_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  Values out;
  if (!input.truthy()) return generator({});
  if (arguments.positional.empty()) {
    const BoundArguments bound("map", arguments, {"attribute", "default"});
    for (const Value& item : items_of(evaluator.budget(), input))
      out.push_back(dotted(evaluator, item, bound.required(0), bound[1]));
    return generator(std::move(out));
  }
  Arguments rest{Values(arguments.positional.begin() + 1, arguments.positional.end()), arguments.named};
  const std::string name = require_text(arguments.positional[0], "the name of the filter that map applies").bytes();
  for (const Value& item : items_of(evaluator.budget(), input)) out.push_back(evaluator.apply_filter(name, item, rest));
  return generator(std::move(out));
}

// select(test, ...), reject(test, ...), selectattr(attribute, test, ...), rejectattr(attribute, test, ...)
template <bool wanted, bool by_attribute>
Value select_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const size_t skip = by_attribute ? 1 : 0;
  if (arguments.positional.size() < skip) fail("selectattr and rejectattr need the name of an attribute");
  const bool has_test = arguments.positional.size() > skip;
  const std::string test = has_test ? require_text(arguments.positional[skip], "the name of a test").bytes() : "";
  const size_t rest_at = std::min(arguments.positional.size(), skip + 1);
  const Arguments rest{Values(arguments.positional.begin() + std::ptrdiff_t(rest_at), arguments.positional.end()),
                       arguments.named};
  Values out;
  if (!input.truthy()) return generator({});  // of none and 0, too
  for (const Value& item : items_of(evaluator.budget(), input)) {
    const Value subject = by_attribute ? dotted(evaluator, item, arguments.positional[0]) : item;
    evaluator.budget().step();
    const bool holds = has_test ? evaluator.apply_test(test, subject, rest) : subject.truthy();
    if (holds == wanted) out.push_back(item);
  }
  return generator(std::move(out));
}

Value reverse_filter(Evaluator& evaluator, const Value& input, const Arguments&) {
  Values items = items_of(evaluator.budget(), input);
  std::reverse(items.begin(), items.end());
  if (!input.if_text()) return Value::iterable(ListKind::generator, std::move(items), "list_reverseiterator");
  Text out;
  for (const Value& item : items) out.append(*item.if_text());
  return out.as_markup(input.if_text()->is_markup());
}

// Stable; `key` makes what is compared of an item.
template <typename Key>
void sort_items(Evaluator& evaluator, Values& items, bool reverse, Key key) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) keyed.emplace_back(key(item), item);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(evaluator.budget(), b.first, a.first) : less(evaluator.budget(), a.first, b.first);
  });
  for (size_t i = 0; i < items.size(); ++i) items[i] = keyed[i].second;
}

// "a,b": two things to sort by.
Values attributes_of(const Value& names) {
  if (!names.if_text()) return {names};
  const Text& text = *names.if_text();
  Values out;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.bytes().find(',', at), text.size());
    out.emplace_back(text.slice(at, end));
    at = end + 1;
  }
  return out;
}

Value sort_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  Values items = items_of(evaluator.budget(), input);
  const bool by_attribute = bound[2] && !bound[2]->is_none();
  const Values attributes = by_attribute ? attributes_of(*bound[2]) : Values();
  sort_items(evaluator, items, bound.flag(0, false), [&](const Value& item) {
    const auto folded = [&](const Value& key) { return bound.flag(1, false) ? key : fold_case(key); };
    if (!by_attribute) return Value::list({folded(item)});  // in a list undefined ones are equal
    Values keys;
    for (const Value& attribute : attributes) keys.push_back(folded(dotted(evaluator, item, attribute)));
    return Value::list(std::move(keys));
  });
  return Value::list(std::move(items));
}

Values pairs_of(Evaluator& evaluator, const Value& input) {
  if (!input.if_dict()) fail("Can only get item pairs from a mapping.");
  Values pairs;
  evaluator.budget().spend_value(input);
  for (const auto& [key, value] : input.if_dict()->entries()) pairs.push_back(Value::tuple({key, value}));
  return pairs;
}

Value items_filter(Evaluator& evaluator, const Value& input, const Arguments&) {
  return generator(input.is_undefined() ? Values() : pairs_of(evaluator, input));
}

Value dictsort_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = bound.text(1, "key");
  if (by != "key" && by != "value") fail("dictsort's by must be \"key\" or \"value\"");
  Values pairs = pairs_of(evaluator, input);
  sort_items(evaluator, pairs, bound.flag(2, false), [&](const Value& pair) {
    const Value& key = pair.if_list()->items[by == "key" ? 0 : 1];
    return bound.flag(0, false) ? key : fold_case(key);
  });
  return Value::list(std::move(pairs));
}

Value unique_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("unique", arguments, {"case_sensitive", "attribute"});
  const bool by_attribute = bound[1] && !bound[1]->is_none();
  Values out;
  Dict seen;
  for (const Value& item : items_of(evaluator.budget(), input)) {
    const Value key = by_attribute ? dotted(evaluator, item, *bound[1]) : item;
    const Value folded = bound.flag(0, false) ? key : fold_case(key);
    evaluator.budget().step();
    if (seen.find(folded)) continue;
    seen.set(folded, Value(true));
    out.push_back(item);
  }
  return generator(std::move(out));
}

template <bool largest>
Value extreme_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("min and max", arguments, {"case_sensitive", "attribute"});
  Value best = Value::undefined("no item, sequence was empty"), best_key;
  const bool by_attribute = bound[1] && !bound[1]->is_none();
  bool first = true;
  for (const Value& item : items_of(evaluator.budget(), input)) {
    Value key = by_attribute ? dotted(evaluator, item, *bound[1]) : item;
    if (!bound.flag(0, false)) key = fold_case(key);
    const bool better = std::exchange(first, false) ||
                        (largest ? less(evaluator.budget(), best_key, key) : less(evaluator.budget(), key, best_key));
    if (!better) continue;
    best = item;
    best_key = key;
  }
  return best;
}

Value sum_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("sum", arguments, {"attribute", "start"});
  Value sum = bound[1] ? *bound[1] : Value(int64_t(0));
  const bool by_attribute = bound[0] && !bound[0]->is_none();
  for (const Value& item : items_of(evaluator.budget(), input))
    sum = arithmetic(evaluator.budget(), "+", sum, by_attribute ? dotted(evaluator, item, *bound[0]) : item);
  return sum;
}

Value batch_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("batch", arguments, {"linecount", "fill_with"});
  const int64_t size = require_int(bound.required(0), "batch's size");
  if (size < 1 || size > kMaxRange) fail("batch's size must be from 1 to " + std::to_string(kMaxRange));
  Values batches, batch;
  const auto flush = [&] { batches.push_back(Value::list(std::exchange(batch, {}))); };
  for (Value& item : items_of(evaluator.budget(), input)) {
    if (int64_t(batch.size()) == size) flush();
    batch.push_back(std::move(item));
  }
  if (batch.empty()) return generator(std::move(batches));
  if (bound[1] && !bound[1]->is_none()) batch.resize(size_t(size), *bound[1]);
  flush();
  return generator(std::move(batches));
}

// Columns instead of rows: the first ones are longer when it does not come out even.
Value slice_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("slice", arguments, {"slices", "fill_with"});
  const int64_t slices = require_int(bound.required(0), "slice's count");
  if (slices < 1 || slices > kMaxRange) fail("slice's count must be from 1 to " + std::to_string(kMaxRange));
  const Values items = items_of(evaluator.budget(), input);
  evaluator.budget().spend_items(size_t(slices));
  const size_t each = items.size() / size_t(slices), longer = items.size() % size_t(slices);
  const bool fill = bound[1] && !bound[1]->is_none();
  Values columns;
  size_t at = 0;
  for (size_t i = 0; i < size_t(slices); ++i) {
    const size_t end = at + each + (i < longer);
    Values column(items.begin() + std::ptrdiff_t(at), items.begin() + std::ptrdiff_t(end));
    if (fill && i >= longer) column.push_back(*bound[1]);
    columns.push_back(Value::list(std::move(column)));
    at = end;
  }
  return generator(std::move(columns));
}

// Tuples (key, items), sorted by the key; also .grouper and .list.
Value groupby_filter(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("groupby", arguments, {"attribute", "default", "case_sensitive"});
  const Value* fallback = bound[1] && !bound[1]->is_none() ? bound[1] : nullptr;
  const auto key_of = [&](const Value& item) { return dotted(evaluator, item, bound.required(0), fallback); };
  const auto compared = [&](const Value& key) { return bound.flag(2, false) ? key : fold_case(key); };
  Values items = items_of(evaluator.budget(), input), groups, group;
  sort_items(evaluator, items, false, [&](const Value& item) { return compared(key_of(item)); });
  const auto flush = [&] {
    const Value key = key_of(group[0]);
    groups.push_back(Value::iterable(ListKind::tuple, {key, Value::list(std::exchange(group, {}))}, "group"));
  };
  for (const Value& item : items) {
    if (!group.empty() && !equal(evaluator.budget(), compared(key_of(group[0])), compared(key_of(item)))) flush();
    group.push_back(item);
  }
  if (!group.empty()) flush();
  return Value::list(std::move(groups));
}

constexpr Filter kFilters[] = {
    {"first", first_filter},
    {"last", last_filter},
    {"list", list_filter},
    {"join", join_filter},
    {"map", map_filter},
    {"select", select_filter<true, false>},
    {"reject", select_filter<false, false>},
    {"selectattr", select_filter<true, true>},
    {"rejectattr", select_filter<false, true>},
    {"reverse", reverse_filter},
    {"sort", sort_filter},
    {"items", items_filter},
    {"dictsort", dictsort_filter},
    {"unique", unique_filter},
    {"min", extreme_filter<false>},
    {"max", extreme_filter<true>},
    {"sum", sum_filter},
    {"batch", batch_filter},
    {"slice", slice_filter},
    {"groupby", groupby_filter},
};

}  // namespace

const Filter* find_list_filter(std::string_view name) {
  for (const Filter& filter : kFilters)
    if (filter.name == name) return &filter;
  return nullptr;
}

}  // namespace trireme::jinja
