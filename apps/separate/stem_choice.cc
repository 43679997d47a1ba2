#include "apps/separate/stem_choice.h"

#include <algorithm>

#include "apps/separate/output_plan.h"

namespace runnel::apps {
namespace {

constexpr const char* kUsuallyHeard = "vocals";

models::StemSet bit(int stem) { return models::StemSet(1) << stem; }

/// STEM and what comes beside it.
std::vector<DerivedStem> two_stems(const std::vector<std::string>& model_stems,
                                   const StemChoice& choice) {
  const int stem = find_stem(model_stems, choice.two_stems, "--two-stems");
  std::vector<DerivedStem> two = {{.name = choice.two_stems, .of = bit(stem)}};
  if (choice.other == StemChoice::Other::kAdd) {
    const models::StemSet all = bit(int(model_stems.size())) - 1;
    two.push_back({.name = "no_" + choice.two_stems, .of = all & ~bit(stem)});
  } else if (choice.other == StemChoice::Other::kMinus) {
    two.push_back({.name = "minus_" + choice.two_stems, .of = bit(stem), .is_rest_of_input = true});
  }
  return two;
}

}  // namespace

std::vector<std::string> StemPlan::names() const {
  std::vector<std::string> list;
  for (const DerivedStem& stem : stems) list.push_back(stem.name);
  return list;
}

StemPlan plan_stems(const std::vector<std::string>& model_stems, const StemChoice& choice) {
  // What may be asked for by name …
  std::vector<DerivedStem> known;
  if (!choice.two_stems.empty()) known = two_stems(model_stems, choice);
  std::vector<std::string> asked;  // … and what is
  for (const DerivedStem& stem : known) asked.push_back(stem.name);
  for (int s = 0; s < int(model_stems.size()); ++s) {
    const std::string& name = model_stems[std::size_t(s)];
    if (name != choice.two_stems) known.push_back({.name = name, .of = bit(s)});
  }
  std::vector<std::string> names;
  for (const DerivedStem& stem : known) names.push_back(stem.name);
  for (const std::string& name : choice.only) find_stem(model_stems, name, "--stems");
  if (choice.two_stems.empty()) {
    for (const std::string& name : model_stems) {
      const bool is_in =
          std::find(choice.only.begin(), choice.only.end(), name) != choice.only.end();
      if (choice.only.empty() || is_in) asked.push_back(name);
    }
  }

  StemPlan plan;
  std::string play = choice.play;
  if (choice.plays && play.empty()) {
    const bool has_vocals = std::find(asked.begin(), asked.end(), kUsuallyHeard) != asked.end();
    play = choice.two_stems.empty() && has_vocals ? kUsuallyHeard : asked[0];
  }
  if (choice.plays) find_stem(names, play, "--play");
  if (choice.records) plan.written = asked;
  for (const DerivedStem& stem : known) {
    const bool is_written =
        std::find(plan.written.begin(), plan.written.end(), stem.name) != plan.written.end();
    const bool is_played = choice.plays && stem.name == play;
    if (!is_written && !is_played) continue;
    if (is_played) plan.played = int(plan.stems.size());
    plan.wanted |= stem.of;
    plan.stems.push_back(stem);
  }
  return plan;
}

}  // namespace runnel::apps
