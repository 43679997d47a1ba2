#include "engine/pickle.h"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <unordered_map>

namespace runnel::engine {
namespace {

using Kind = PickleValue::Kind;

[[noreturn]] void fail(const std::string& why) { throw std::runtime_error("pickle: " + why); }

/// The stack machine. Values are made in `values` and never removed, so plain pointers are safe and
/// memory stays below a small multiple of the stream's size.
class Machine {
 public:
  Machine(std::span<const std::byte> stream, std::initializer_list<std::string_view> allowed,
          UnknownNames unknown, std::deque<PickleValue>& values)
      : stream_(stream), allowed_(allowed), unknown_(unknown), values_(values) {}

  const PickleValue* run() {
    for (;;) {
      const auto opcode = char(byte());
      if (opcode == '.') return pop();
      step(opcode);
    }
  }

 private:
  void step(char opcode) {
    switch (opcode) {
      case '\x80':  // PROTO
        skip(1);
        return;
      case '\x95':  // FRAME
        skip(8);
        return;
      case '(':
        marks_.push_back(stack_.size());
        return;
      case '0':
        pop();
        return;
      case 'N':
        push(Kind::kNone);
        return;
      case '\x88':
      case '\x89':
        push(Kind::kBool)->integer = opcode == '\x88';
        return;
      case 'K':
        push(Kind::kInteger)->integer = std::int64_t(unsigned_integer(1));
        return;
      case 'M':
        push(Kind::kInteger)->integer = std::int64_t(unsigned_integer(2));
        return;
      case 'J':
        push(Kind::kInteger)->integer = std::int32_t(unsigned_integer(4));
        return;
      case '\x8a':  // LONG1
        push(Kind::kInteger)->integer = long_integer();
        return;
      case 'G':
        push(Kind::kFloat)->real = big_endian_double();
        return;
      case 'X':  // BINUNICODE
        push_text(unsigned_integer(4));
        return;
      case '\x8c':  // SHORT_BINUNICODE
        push_text(unsigned_integer(1));
        return;
      case '\x8d':  // BINUNICODE8
        push_text(unsigned_integer(8));
        return;
      case 'c': {
        const std::string module = line();
        push_global(module + " " + line());
        return;
      }
      case '\x93': {  // STACK_GLOBAL
        const PickleValue* name = pop();
        const PickleValue* module = pop();
        push_global(module->text + " " + name->text);
        return;
      }
      case 'Q':
        replace_top(Kind::kPersistentId, 1);
        return;
      case ')':
        push(Kind::kTuple);
        return;
      case ']':
        push(Kind::kList);
        return;
      case '}':
        push(Kind::kDict);
        return;
      case 't': {
        std::vector<PickleValue*> items = pop_to_mark();
        PickleValue* tuple = push(Kind::kTuple);
        tuple->items.assign(items.begin(), items.end());
        return;
      }
      case '\x85':
      case '\x86':
      case '\x87':  // TUPLE1, 2, 3
        replace_top(Kind::kTuple, opcode - '\x85' + 1);
        return;
      case 'R':     // REDUCE
      case '\x81':  // NEWOBJ
        replace_top(Kind::kCall, 2);
        if (!stack_.back()->items[0]->is(Kind::kGlobal)) fail("a call of what is not a name");
        return;
      case 'b':    // BUILD
      case 'a': {  // APPEND
        PickleValue* item = pop();
        top(opcode == 'b' ? Kind::kCall : Kind::kList)->items.push_back(item);
        return;
      }
      case 'e':
        extend(pop_to_mark(), Kind::kList);
        return;
      case 's': {
        PickleValue* value = pop();
        PickleValue* key = pop();
        extend({key, value}, Kind::kDict);
        return;
      }
      case 'u': {
        const std::vector<PickleValue*> items = pop_to_mark();
        if (items.size() % 2) fail("a key without a value");
        extend(items, Kind::kDict);
        return;
      }
      case 'q':
        memo_[unsigned_integer(1)] = top();
        return;
      case 'r':
        memo_[unsigned_integer(4)] = top();
        return;
      case '\x94':  // MEMOIZE
        memo_[memo_.size()] = top();
        return;
      case 'h':
        recall(unsigned_integer(1));
        return;
      case 'j':
        recall(unsigned_integer(4));
        return;
    }
    fail("opcode " + std::to_string(int(static_cast<unsigned char>(opcode))) + " is not accepted");
  }

  std::byte byte() { return take(1)[0]; }

  std::span<const std::byte> take(std::uint64_t size) {
    if (size > stream_.size() - at_) fail("ends too early");
    const auto taken = stream_.subspan(at_, size);
    at_ += size;
    return taken;
  }

  void skip(std::uint64_t size) { take(size); }

  std::uint64_t unsigned_integer(int width) {
    const auto bytes = take(std::uint64_t(width));
    std::uint64_t value = 0;
    for (int i = width - 1; i >= 0; --i) value = value << 8 | std::uint64_t(bytes[i]);
    return value;
  }

  std::int64_t long_integer() {
    const int width = int(unsigned_integer(1));
    if (width == 0) return 0;
    if (width > 8) fail("an integer of " + std::to_string(width) + " bytes");
    const std::uint64_t value = unsigned_integer(width);
    const int unused = 64 - 8 * width;
    return std::int64_t(value << unused) >> unused;  // sign-extends
  }

  double big_endian_double() {
    std::uint64_t bits = 0;
    for (std::byte b : take(8)) bits = bits << 8 | std::uint64_t(b);
    return std::bit_cast<double>(bits);
  }

  std::string line() {
    std::string text;
    for (char c = char(byte()); c != '\n'; c = char(byte())) text += c;
    return text;
  }

  PickleValue* push(Kind kind) {
    values_.push_back({.kind = kind, .integer = 0, .real = 0, .text = {}, .items = {}});
    stack_.push_back(&values_.back());
    return stack_.back();
  }

  void push_text(std::uint64_t size) {
    const auto bytes = take(size);
    push(Kind::kString)->text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  void push_global(const std::string& global) {
    if (unknown_ == UnknownNames::kRefused &&
        std::find(allowed_.begin(), allowed_.end(), global) == allowed_.end()) {
      fail("the name '" + global + "' is not on the list of accepted names");
    }
    push(Kind::kGlobal)->text = global;
  }

  PickleValue* pop() {
    if (stack_.size() <= floor()) fail("stack underflow");
    PickleValue* value = stack_.back();
    stack_.pop_back();
    return value;
  }

  PickleValue* top() {
    if (stack_.size() <= floor()) fail("stack underflow");
    return stack_.back();
  }

  PickleValue* top(Kind kind) {
    PickleValue* value = top();
    const bool dict_like = kind == Kind::kDict && value->is(Kind::kCall);  // OrderedDict()
    if (!value->is(kind) && !dict_like) fail("an item put into what cannot hold it");
    return value;
  }

  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  std::vector<PickleValue*> pop_to_mark() {
    if (marks_.empty()) fail("no mark");
    const auto first = stack_.begin() + std::ptrdiff_t(marks_.back());
    std::vector<PickleValue*> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }

  /// Replaces the top `count` values by one that holds them.
  void replace_top(Kind kind, int count) {
    std::vector<const PickleValue*> items(std::size_t(count), nullptr);
    for (int i = count - 1; i >= 0; --i) items[std::size_t(i)] = pop();
    push(kind)->items = std::move(items);
  }

  void extend(const std::vector<PickleValue*>& items, Kind kind) {
    PickleValue* holder = top(kind);
    if (holder->is(Kind::kCall)) {  // the items of an OrderedDict() are a dict set on it
      values_.push_back({.kind = Kind::kDict, .integer = 0, .real = 0, .text = {}, .items = {}});
      holder->items.push_back(&values_.back());
      holder = &values_.back();
    }
    holder->items.insert(holder->items.end(), items.begin(), items.end());
  }

  void recall(std::uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) fail("a reference to nothing");
    stack_.push_back(found->second);
  }

  std::span<const std::byte> stream_;
  std::vector<std::string_view> allowed_;
  UnknownNames unknown_;
  std::deque<PickleValue>& values_;
  std::size_t at_ = 0;
  std::vector<PickleValue*> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, PickleValue*> memo_;
};

}  // namespace

const PickleValue* PickleValue::find(std::string_view key) const {
  if (is(Kind::kDict)) {
    for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
      if (items[i]->is(Kind::kString) && items[i]->text == key) return items[i + 1];
    }
  } else if (is(Kind::kCall)) {
    for (std::size_t i = 2; i < items.size(); ++i) {
      if (!items[i]->is(Kind::kDict)) continue;
      if (const PickleValue* found = items[i]->find(key)) return found;
    }
  }
  return nullptr;
}

Pickle::Pickle(std::span<const std::byte> stream,
               std::initializer_list<std::string_view> allowed_globals, UnknownNames unknown)
    : root_(Machine(stream, allowed_globals, unknown, values_).run()) {}

}  // namespace runnel::engine
