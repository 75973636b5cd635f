// SPDX-License-Identifier: Apache-2.0
//
// Gateway: between the HTTP server and the services. It authenticates, receives the payload while
// computing its checksums, applies faults, calls the service and writes the request log.
//
// On a bare address the service is told by the signature's scope; on a host name of AWS's form the
// two must agree.
//
// Thread safety: as http::Handler asks.

#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "http/server.h"
#include "region/core/authenticate.h"
#include "region/core/context.h"
#include "region/core/request_log.h"
#include "region/core/service.h"

namespace vmferry::region {

class Gateway final : public http::Handler {
 public:
  /// All arguments outlive the gateway. Services are told apart by Name(). The spool folder must
  /// exist; what an earlier run left in it is removed.
  Gateway(const Context& context, const RegionCredentials& credentials, RequestLog& request_log,
          std::vector<Service*> services);

  std::unique_ptr<http::Exchange> Begin(http::RequestHead head) override;
  http::Reply Malformed(int status, std::string_view what) override;

  /// The service of that name, or nullptr.
  Service* FindService(std::string_view name) const;

 private:
  friend class GatewayExchange;

  const Context& context_;
  const RegionCredentials& credentials_;
  RequestLog& request_log_;
  const std::vector<Service*> services_;
};

}  // namespace vmferry::region
