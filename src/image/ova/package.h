// SPDX-License-Identifier: Apache-2.0
//
// From an OVA or OVF to an Appliance: finds the descriptor, reads it, and puts a file behind every
// name it uses. Nothing is unpacked, and nothing is read but headers, descriptor and manifest.

#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"
#include "image/appliance.h"
#include "image/byte_source.h"
#include "image/companions.h"

namespace vmferry::image::ova {

/// An OVA: a tar archive with everything inside.
///
/// Errors: those of ReadTar and ParseOvf; kInvalidArgument ova.no_descriptor; kDataLoss
///         ova.several_descriptors, ova.missing_file, ova.tar.truncated.
Result<Appliance> OpenTar(std::shared_ptr<const ByteSource> archive);

/// An OVF, called `name`, with its files beside it.
///
/// Errors: those of ParseOvf and of Companions::OpenExtent.
Result<Appliance> OpenFolder(std::shared_ptr<const ByteSource> descriptor, std::string_view name,
                             Companions& companions);

}  // namespace vmferry::image::ova
