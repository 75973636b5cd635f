// SPDX-License-Identifier: Apache-2.0
//
// Probe: tells the format of a disk file from its bytes. Names and extensions do not count here.

#pragma once

#include <string>

#include "base/result.h"
#include "image/byte_source.h"

namespace vmferry::image {

enum class Format {
  kUnknown,         ///< no signature: a raw disk, or anything else
  kVmdkSparse,      ///< KDMV: stream-optimised or monolithic sparse
  kVmdkDescriptor,  ///< a text file that names other files
  kVmdkCow,         ///< COWD: ESX 2 sparse
  kQcow2,
  kVhd,
  kVhdx,
  kVdi,
  kQed,
  kParallels,
  kTar,  ///< an OVA, usually
  kOvf,
  kCompressed,  ///< gzip, xz, zstd, bzip2, zip
};

/// The words people use for it: "QCOW2".
std::string FormatName(Format format);

/// Reads the first and the last bytes. Errors: those of the source.
Result<Format> Probe(const ByteSource& source);

}  // namespace vmferry::image
