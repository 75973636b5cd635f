// SPDX-License-Identifier: Apache-2.0
//
// Fetcher: reads what imports are made from, through the region's own port and from nowhere else.
//
// What is not there yet, and what fails for a moment, is told apart from what cannot be read: a
// task waits for the former and ends with the latter.
//
// Thread safety: all methods, from any thread.

#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "http/client.h"
#include "region/core/context.h"
#include "region/core/credentials.h"
#include "region/import/local_url.h"
#include "sys/file.h"

namespace vmferry::region {

/// What the caller of an import did wrong; the message, "ClientError: " and `text`, is the task's
/// statusMessage. kInvalidArgument region.client_error.
Error ClientError(std::string_view text);

/// How a fetch ended when it did not fail.
enum class FetchOutcome {
  kDone,
  kMissing,  ///< status 404
  kBusy,     ///< a server error, a cut or refused connection: may pass
};

class Fetcher {
 public:
  /// All references outlive it.
  Fetcher(Context& context, http::Client& client, RegionCredentials credentials)
      : context_(context), client_(client), credentials_(std::move(credentials)) {}

  /// A request for the URL of an import manifest: it carries its own signature.
  /// Errors: region.client_error: the URL points elsewhere than this region.
  Result<http::Request> ForUrl(std::string_view url) const;
  /// A request for an object, GET or HEAD, signed by the region in the place of the service role.
  http::Request ForObject(std::string_view method, const ObjectName& object) const;

  /// The whole body. Errors: region.client_error: forbidden, or longer than the limit.
  struct Text {
    FetchOutcome outcome = FetchOutcome::kDone;
    std::string body;
  };
  Result<Text> ReadText(const http::Request& request, std::string_view what,
                        std::size_t limit_bytes, const OpContext& op) const;

  /// A request for an object as HEAD: its size.
  struct Size {
    FetchOutcome outcome = FetchOutcome::kDone;
    std::uint64_t bytes = 0;
  };
  Result<Size> SizeOf(const ObjectName& object, const OpContext& op) const;

  /// Where a body goes.
  struct Target {
    const sys::File& file;
    std::uint64_t offset_bytes = 0;
    std::uint64_t limit_bytes = 0;
    /// Blocks of zeros are not written: the file holds nothing at that place yet.
    bool fresh = false;
    /// Called with what has arrived so far.
    std::function<void(std::uint64_t received_bytes)> progress = {};
  };
  struct Body {
    FetchOutcome outcome = FetchOutcome::kDone;
    std::uint64_t bytes = 0;
  };
  /// Errors: region.client_error; those of sys::File.
  Result<Body> ToFile(const http::Request& request, std::string_view what, const Target& target,
                      const OpContext& op) const;

 private:
  Result<FetchOutcome> Judge(const Result<http::Response>& response, std::string_view what) const;
  OpContext Timed(const OpContext& op) const;

  Context& context_;
  http::Client& client_;
  const RegionCredentials credentials_;
};

}  // namespace vmferry::region
