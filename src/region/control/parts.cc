// SPDX-License-Identifier: Apache-2.0
#include "region/control/parts.h"

#include "region/s3/service.h"
#include "region/sts/service.h"

namespace vmferry::region::control {
namespace {

class AllParts final : public Parts {
 public:
  explicit AllParts(Context& context) : sts_(context) {}

  Result<void> Open(Context& context) {
    VMFERRY_ASSIGN_OR_RETURN(s3_, s3::S3Service::Open(context));
    return {};
  }

  std::vector<Service*> Services() override { return {s3_.get(), &sts_}; }
  std::vector<Component*> Components() override { return {}; }
  std::map<std::string, AdminAction> AdminActions() override { return {}; }

 private:
  sts::StsService sts_;
  std::unique_ptr<s3::S3Service> s3_;
};

}  // namespace

Result<std::unique_ptr<Parts>> OpenParts(Context& context) {
  auto parts = std::make_unique<AllParts>(context);
  VMFERRY_RETURN_IF_ERROR(parts->Open(context));
  return std::unique_ptr<Parts>(std::move(parts));
}

}  // namespace vmferry::region::control
