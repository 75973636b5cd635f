// SPDX-License-Identifier: Apache-2.0
//
// Encryption: the account's setting "encrypt new volumes and snapshots by default", and the key
// that is named then. Nothing is encrypted on this disk; what encryption does to what one reads is
// modelled (snapshot_upload.h).
//
// Thread safety: all methods, from any thread.
// Source: Amazon EBS user guide, "Encryption by default".

#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "region/core/context.h"

namespace vmferry::region::vm {

class Encryption {
 public:
  /// Makes the table. The context outlives this.
  static Result<Encryption> Open(Context& context);

  Result<bool> ByDefault();
  Result<void> SetByDefault(bool enabled);
  /// The full ARN of the account's own key "alias/aws/ebs".
  std::string DefaultKeyArn() const;

 private:
  explicit Encryption(Context& context) : context_(&context) {}
  Context* context_;
};

/// True for the form of a key's full ARN, "arn:aws:kms:REGION:ACCOUNT:key/ID".
bool IsKeyArn(std::string_view text);

}  // namespace vmferry::region::vm
