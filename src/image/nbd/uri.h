// SPDX-License-Identifier: Apache-2.0
//
// Uri: where an NBD export is, as the user wrote it, with everything that could reach further taken
// out before libnbd sees it.
//
// Source: NBD protocol, "uri.md"; libnbd's nbd_connect_uri(3).

#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace vmferry::image::nbd {

/// A checked address of an export.
struct Uri {
  /// What libnbd is given: scheme, authority, export and at most the parameter `socket`.
  std::string address;
  /// The export's name, decoded; empty for the server's default.
  std::string export_name;
  /// Folder of the parameter `tls-certificates`; empty for the system's certificates.
  std::string certificates;
  bool tls = false;
};

/// True for what ParseUri should be asked about: an `nbd` scheme of any kind, supported or not.
bool IsUri(std::string_view location);

/// Reads `nbd://HOST[:PORT]/EXPORT`, `nbds://...`, `nbd+unix:///EXPORT?socket=PATH`.
///
/// Other transports (ssh, vsock, TLS on a Unix socket) and parameters other than `socket` and
/// `tls-certificates` are refused: they run programs, read files, or turn the check of the server's
/// certificate off. Errors: kInvalidArgument nbd.uri.
Result<Uri> ParseUri(std::string_view text);

}  // namespace vmferry::image::nbd
