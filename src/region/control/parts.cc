// SPDX-License-Identifier: Apache-2.0
#include "region/control/parts.h"

#include "http/curl_client.h"
#include "region/control/status.h"
#include "region/ebs/service.h"
#include "region/ec2/service.h"
#include "region/iam/service.h"
#include "region/import/image_tasks.h"
#include "region/import/importer.h"
#include "region/s3/service.h"
#include "region/sts/service.h"
#include "region/vm/disks.h"
#include "region/vm/images.h"
#include "region/vm/instances.h"

namespace vmferry::region::control {
namespace {

// Members are destroyed from the last to the first: services before what they work on.
class AllParts final : public Parts {
 public:
  explicit AllParts(Context& context)
      : context_(context), sandbox_(vm::Sandbox::ForThisProcess()), http_(context.clock, {}) {}

  Result<void> Open(Context& context) {
    VMFERRY_ASSIGN_OR_RETURN(disks_, vm::Disks::Open(context, sandbox_));
    VMFERRY_ASSIGN_OR_RETURN(images_, vm::Images::Open(context));
    VMFERRY_ASSIGN_OR_RETURN(instances_, vm::Instances::Open(context, sandbox_, *disks_, {}));
    VMFERRY_ASSIGN_OR_RETURN(importer_,
                             Importer::Open(context, sandbox_, *disks_, *instances_, http_, {}));
    VMFERRY_ASSIGN_OR_RETURN(image_tasks_, ImageTasks::Open(context, sandbox_, *disks_, http_, {}));
    VMFERRY_ASSIGN_OR_RETURN(s3_, s3::S3Service::Open(context));
    VMFERRY_ASSIGN_OR_RETURN(ebs_, ebs::EbsService::Open(context, *disks_));
    VMFERRY_ASSIGN_OR_RETURN(sts_, sts::StsService::Open(context));
    VMFERRY_ASSIGN_OR_RETURN(iam_, iam::IamService::Open(context));
    ec2_ = std::make_unique<ec2::Ec2Service>(
        ec2::World{context, *disks_, *images_, *instances_, *importer_, *image_tasks_});
    return {};
  }

  std::vector<Service*> Services() override {
    return {s3_.get(), ec2_.get(), ebs_.get(), sts_.get(), iam_.get()};
  }

  // Instances adopt their processes before imports go on; they stop last but for the disks.
  std::vector<Component*> Components() override {
    return {disks_.get(), instances_.get(), importer_.get(), image_tasks_.get()};
  }

  std::map<std::string, AdminAction> AdminActions() override {
    return {{"CorruptVolume",
             [this](const text::Json& parameters) -> Result<text::Json> {
               VMFERRY_RETURN_IF_ERROR(disks_->FlipByte(parameters["volume_id"].AsString(),
                                                        parameters["offset_bytes"].AsUint()));
               return text::Json::MakeObject();
             }},
            {"Status", [this](const text::Json&) -> Result<text::Json> {
               return StatusOf(context_, *disks_, *images_, *instances_, *importer_, *image_tasks_);
             }}};
  }

 private:
  const Context& context_;
  const vm::Sandbox sandbox_;
  http::CurlClient http_;
  std::unique_ptr<vm::Disks> disks_;
  std::unique_ptr<vm::Images> images_;
  std::unique_ptr<vm::Instances> instances_;
  std::unique_ptr<Importer> importer_;
  std::unique_ptr<ImageTasks> image_tasks_;
  std::unique_ptr<s3::S3Service> s3_;
  std::unique_ptr<ebs::EbsService> ebs_;
  std::unique_ptr<ec2::Ec2Service> ec2_;
  std::unique_ptr<sts::StsService> sts_;
  std::unique_ptr<iam::IamService> iam_;
};

}  // namespace

Result<std::unique_ptr<Parts>> OpenParts(Context& context) {
  auto parts = std::make_unique<AllParts>(context);
  VMFERRY_RETURN_IF_ERROR(parts->Open(context));
  return std::unique_ptr<Parts>(std::move(parts));
}

}  // namespace vmferry::region::control
