// SPDX-License-Identifier: Apache-2.0
//
// From EC2's XML to the structs of types.h. Absent elements stay empty.
//
// Internal to this module.

#pragma once

#include "aws/ec2/types.h"
#include "base/result.h"
#include "text/xml.h"

namespace vmferry::aws::ec2 {

Tags ReadTags(const text::XmlElement& parent);
Result<ConversionTask> ReadConversionTask(const text::XmlElement& item);
Instance ReadInstance(const text::XmlElement& item);
InstanceStatus ReadInstanceStatus(const text::XmlElement& item);
Volume ReadVolume(const text::XmlElement& item);
Snapshot ReadSnapshot(const text::XmlElement& item);

}  // namespace vmferry::aws::ec2
