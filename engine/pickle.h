// Reads a Python pickle as data. Nothing is imported or executed: a global is only a name, and
// calls are kept as "this name with these arguments". Names outside a closed list are refused, or
// kept as the inert names that they are where a reader asks for that and looks only at what it
// knows. Source: CPython Lib/pickletools.py (opcodes of protocols 2 to 4).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace runnel::engine {

struct PickleValue {
  enum class Kind {
    kNone,
    kBool,          // integer
    kInteger,       // integer
    kFloat,         // real
    kString,        // text
    kTuple,         // items
    kList,          // items
    kDict,          // items: key, value, key, value …
    kGlobal,        // text: "module name"
    kPersistentId,  // items[0]: what the stream's maker put in place of the object
    kCall,          // items: the called global, its argument tuple, then any state set on it
  };
  Kind kind = Kind::kNone;
  std::int64_t integer = 0;
  double real = 0;
  std::string text;
  std::vector<const PickleValue*> items;

  bool is(Kind k) const noexcept { return kind == k; }
  /// The value at a string key of a dict, or of a call of OrderedDict; null if there is none.
  const PickleValue* find(std::string_view key) const;
};

/// What becomes of a global that isn't on the list.
enum class UnknownNames { kRefused, kKept };

/// The whole pickle; owns every value, which may refer to each other in any way.
class Pickle {
 public:
  /// Throws std::runtime_error on damage, on an opcode outside the list above, and on a global that
  /// is not in `allowed_globals` ("module name") unless unknown ones are kept.
  Pickle(std::span<const std::byte> stream, std::initializer_list<std::string_view> allowed_globals,
         UnknownNames unknown = UnknownNames::kRefused);

  const PickleValue& root() const noexcept { return *root_; }

 private:
  std::deque<PickleValue> values_;  // stable addresses
  const PickleValue* root_ = nullptr;
};

}  // namespace runnel::engine
