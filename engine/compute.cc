#include "engine/compute.h"

#include <charconv>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace runnel::engine {
namespace {

[[noreturn]] void refuse(const char* what, const char* expected, std::string_view found) {
  throw std::invalid_argument(std::string(what) + ": expected " + expected + ", found '" +
                              std::string(found) + "'");
}

constexpr const char* kPrecisions = "float32, bfloat16, float16 or int8";
constexpr const char* kPrecisionsOrAuto = "auto, float32, bfloat16, float16 or int8";
constexpr const char* kUsages = "minimal, balanced or performance";

bool find_precision(std::string_view text, Precision& found) {
  struct Name {
    std::string_view text;
    Precision precision;
  };
  static constexpr Name kNames[] = {
      {"float32", Precision::kFloat32}, {"f32", Precision::kFloat32},
      {"fp32", Precision::kFloat32},    {"bfloat16", Precision::kBFloat16},
      {"bf16", Precision::kBFloat16},   {"float16", Precision::kFloat16},
      {"f16", Precision::kFloat16},     {"fp16", Precision::kFloat16},
      {"int8", Precision::kInt8},       {"i8", Precision::kInt8},
  };
  for (const Name& name : kNames) {
    if (name.text == text) {
      found = name.precision;
      return true;
    }
  }
  return false;
}

bool find_config(std::string_view text, ComputeConfig& found) {
  if (text == "auto") {
    const bool tiles = chosen_isa() == Isa::kAmx;
    found.encoder = tiles ? Precision::kBFloat16 : Precision::kFloat32;
    found.decoder = Precision::kInt8;
    found.automatic = true;
    return true;
  }
  if (!find_precision(text, found.encoder)) return false;
  found.decoder = found.encoder;
  return true;
}

bool find_usage(std::string_view text, MemoryUsage& found) {
  for (auto usage : {MemoryUsage::kMinimal, MemoryUsage::kBalanced, MemoryUsage::kPerformance}) {
    if (name(usage) == text) {
      found = usage;
      return true;
    }
  }
  return false;
}

/// Its value; empty where it is not set.
std::string_view variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

}  // namespace

std::string_view name(Precision precision) {
  switch (precision) {
    case Precision::kFloat32:
      return "float32";
    case Precision::kBFloat16:
      return "bfloat16";
    case Precision::kFloat16:
      return "float16";
    case Precision::kInt8:
      return "int8";
  }
  return "?";
}

Precision parse_precision(std::string_view text) {
  Precision precision;
  if (!find_precision(text, precision)) refuse("precision", kPrecisions, text);
  return precision;
}

std::string_view name(MemoryUsage usage) {
  switch (usage) {
    case MemoryUsage::kMinimal:
      return "minimal";
    case MemoryUsage::kBalanced:
      return "balanced";
    case MemoryUsage::kPerformance:
      return "performance";
  }
  return "?";
}

MemoryUsage parse_memory_usage(std::string_view text) {
  MemoryUsage usage;
  if (!find_usage(text, usage)) refuse("memory usage", kUsages, text);
  return usage;
}

ComputeConfig ComputeConfig::of(std::string_view precision_or_auto) {
  ComputeConfig config;
  if (!find_config(precision_or_auto, config)) {
    refuse("precision", kPrecisionsOrAuto, precision_or_auto);
  }
  return config;
}

ComputeConfig ComputeConfig::from_environment() {
  constexpr int kMostThreads = 1024;
  std::string_view text = variable("RUNNEL_COMPUTE_PRECISION");
  ComputeConfig config;
  if (!find_config(text.empty() ? "auto" : text, config)) {
    refuse("RUNNEL_COMPUTE_PRECISION", kPrecisionsOrAuto, text);
  }
  text = variable("RUNNEL_MEMORY_USAGE");
  if (!text.empty() && !find_usage(text, config.memory)) {
    refuse("RUNNEL_MEMORY_USAGE", kUsages, text);
  }
  text = variable("RUNNEL_NUM_THREADS");
  if (!text.empty()) {
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), config.threads);
    if (error != std::errc() || end != text.data() + text.size() || config.threads < 0 ||
        config.threads > kMostThreads) {
      refuse("RUNNEL_NUM_THREADS", "a whole number from 0 (as many as cores) to 1024", text);
    }
  }
  return config;
}

}  // namespace runnel::engine
