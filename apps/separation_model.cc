#include "apps/separation_model.h"

#include "apps/output_plan.h"
#include "models/catalog.h"

namespace runnel::apps {

SeparationModel gtcrn_separation(const std::string& name_or_path,
                                 const models::SeparatorOptions& options) {
  const auto weights = models::load_separator(name_or_path);
  return {.name = model_folder_name(name_or_path),
          .label = weights->label(),
          .stems = {"speech", "background"},
          .separators = [weights, options](const models::SeparatorFormat& format) {
            return std::make_unique<models::Separator>(weights, format, options);
          }};
}

}  // namespace runnel::apps
