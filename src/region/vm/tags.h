// SPDX-License-Identifier: Apache-2.0
//
// Tags: key and value pairs on any resource, by its id.
//
// Thread safety: all methods, from any thread.

#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "region/core/database.h"

namespace vmferry::region::vm {

using TagMap = std::map<std::string, std::string, std::less<>>;

class Tags {
 public:
  /// Makes the table. The database outlives this.
  static Result<Tags> Open(Database& database);

  TagMap Of(std::string_view resource_id);
  /// Tags of every resource whose id begins with `prefix`.
  std::map<std::string, TagMap, std::less<>> OfAll(std::string_view prefix);
  /// Removes tags, all or none: of each key, one with a value only when it has that value. No keys:
  /// all tags of the resources.
  using Keys = std::vector<std::pair<std::string, std::optional<std::string>>>;
  Result<void> Remove(const std::vector<std::string>& resource_ids, const Keys& keys);
  /// Adds or replaces, all or none.
  /// Errors: kResourceExhausted region.too_many_tags (50 for one resource).
  Result<void> Set(const std::vector<std::string>& resource_ids, const TagMap& tags);

  /// The same inside a transaction of the caller's.
  static Result<void> SetIn(Transaction& transaction, std::string_view resource_id,
                            const TagMap& tags);
  static Result<void> RemoveIn(Transaction& transaction, std::string_view resource_id);

 private:
  explicit Tags(Database& database) : database_(&database) {}
  Database* database_;
};

}  // namespace vmferry::region::vm
