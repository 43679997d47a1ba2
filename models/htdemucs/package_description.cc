#include "models/htdemucs/package_description.h"

#include <charconv>
#include <stdexcept>
#include <string>

namespace runnel::models::htdemucs {
namespace {

using engine::PickleValue;
using nlohmann::json;
using Kind = PickleValue::Kind;

constexpr int kMaxNesting = 4;            // of lists and dicts in kwargs
constexpr std::size_t kMaxValues = 4096;  // of all of them

/// "module name" as Python prints it.
std::string dotted(std::string global) {
  global = global.substr(0, 60);
  for (char& c : global) {
    if (c == ' ') c = '.';
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  }
  return global;
}

/// Fraction(n, d) or, as Python before 3.12 writes it, Fraction("n/d").
json fraction(const PickleValue& call) {
  const json unknown = {{"object", "fractions.Fraction"}};
  if (call.items.size() != 2 || !call.items[1]->is(Kind::kTuple)) return unknown;
  const auto& args = call.items[1]->items;
  if (args.size() == 2 && args[0]->is(Kind::kInteger) && args[1]->is(Kind::kInteger)) {
    return {args[0]->integer, args[1]->integer};
  }
  if (args.size() != 1 || !args[0]->is(Kind::kString)) return unknown;
  const std::string& text = args[0]->text;
  const char* const end = text.data() + text.size();
  std::int64_t numerator = 0, denominator = 1;
  const auto above = std::from_chars(text.data(), end, numerator);
  if (above.ec != std::errc()) return unknown;
  if (above.ptr == end) return {numerator, denominator};
  if (*above.ptr != '/') return unknown;
  const auto below = std::from_chars(above.ptr + 1, end, denominator);
  if (below.ec != std::errc() || below.ptr != end) return unknown;
  return {numerator, denominator};
}

/// Values may refer to themselves: depth and number are bounded.
json plain(const PickleValue& value, int depth, std::size_t& left) {
  if (depth > kMaxNesting || left == 0) {
    throw std::runtime_error("expected at most " + std::to_string(kMaxValues) +
                             " keyword arguments, nested up to " + std::to_string(kMaxNesting) +
                             " deep, found more");
  }
  --left;
  switch (value.kind) {
    case Kind::kNone:
      return nullptr;
    case Kind::kBool:
      return value.integer != 0;
    case Kind::kInteger:
      return value.integer;
    case Kind::kFloat:
      return value.real;
    case Kind::kString:
      return value.text;
    case Kind::kTuple:
    case Kind::kList: {
      json list = json::array();
      for (const PickleValue* item : value.items) list.push_back(plain(*item, depth + 1, left));
      return list;
    }
    case Kind::kDict: {
      json object = json::object();
      for (std::size_t i = 0; i + 1 < value.items.size(); i += 2) {
        if (!value.items[i]->is(Kind::kString)) continue;
        object[value.items[i]->text] = plain(*value.items[i + 1], depth + 1, left);
      }
      return object;
    }
    case Kind::kCall:
      if (value.items[0]->text == "fractions Fraction") return fraction(value);
      return {{"object", dotted(value.items[0]->text)}};
    case Kind::kGlobal:
      return {{"object", dotted(value.text)}};
    case Kind::kPersistentId:
      break;
  }
  return {{"object", "a storage"}};
}

}  // namespace

PackageDescription describe_package(const PickleValue& root) {
  const PickleValue* klass = root.find("klass");
  const PickleValue* kwargs = root.find("kwargs");
  const PickleValue* state = root.find("state");
  if (!klass || !kwargs || !state) {
    throw std::runtime_error("expected a package of klass, args, kwargs and state, found no " +
                             std::string(!klass    ? "klass"
                                         : !kwargs ? "kwargs"
                                                   : "state"));
  }
  const std::string name = klass->is(Kind::kGlobal) ? dotted(klass->text) : "no class";
  if (name != kModelClass) {
    throw std::runtime_error("key 'klass': expected " + std::string(kModelClass) + ", found " +
                             name);
  }
  if (state->find("__quantized")) {
    throw std::runtime_error("key 'state': expected tensors, found weights quantised with DiffQ");
  }
  std::size_t left = kMaxValues;
  const PickleValue* args = root.find("args");
  PackageDescription description{.text = {{"klass", name}}, .state = state};
  description.text["args"] = args ? plain(*args, 0, left) : json::array();
  description.text["kwargs"] = plain(*kwargs, 0, left);
  return description;
}

}  // namespace runnel::models::htdemucs
