// SPDX-License-Identifier: Apache-2.0
//
// Filters and pages of Describe* calls.

#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "region/ec2/operation.h"

namespace vmferry::region::ec2 {

/// True when `text` matches `pattern`, in which * is any run and ? any one character; a backslash
/// takes their meaning. Case counts.
bool MatchesWildcard(std::string_view pattern, std::string_view text);

/// Filter.N.Name and Filter.N.Value.M: names all must match, of each one value.
class Filters {
 public:
  /// Some operations call their list "Filters".
  static Filters Parse(const QueryParameters& parameters, std::string_view list = "Filter");

  /// The values a resource has for a filter name; nothing for names that are not modelled.
  using Values = std::function<std::optional<std::vector<std::string>>(std::string_view name)>;
  /// `tag:KEY` and `tag-key` are answered from `tags`.
  /// Errors: InvalidParameterValue for filter names that are not modelled.
  Result<bool> Match(const vm::TagMap& tags, const Values& values) const;

 private:
  struct Filter {
    std::string name;
    std::vector<std::string> patterns;
  };
  std::vector<Filter> filters_;
};

/// One page of a list that is sorted by id.
class Page {
 public:
  /// Errors: InvalidMaxResults, InvalidNextToken, InvalidParameterCombination (with explicit ids).
  static Result<Page> Parse(const QueryParameters& parameters, bool with_ids);

  /// Whether the item is to be written; false before the page and behind it.
  bool Take(std::string_view id);
  /// <nextToken> when there is more.
  void WriteToken(text::XmlWriter& reply) const;

 private:
  std::uint64_t limit_ = 0;  // 0: no limit
  std::uint64_t taken_ = 0;
  std::string after_;
  std::string last_;
  bool more_ = false;
};

/// Checks ids of a request: all well-formed, all among `known`.
/// Errors: KIND.Malformed, NOT_FOUND.
struct IdKind {
  std::string_view parameter;  ///< "InstanceId"
  std::string_view prefix;     ///< "i-"
  std::string_view malformed;  ///< "InvalidInstanceID.Malformed"
  std::string_view not_found;  ///< "InvalidInstanceID.NotFound"
  std::string_view noun;       ///< "instance ID"
};
inline constexpr IdKind kInstanceIds{"InstanceId", "i-", "InvalidInstanceID.Malformed",
                                     "InvalidInstanceID.NotFound", "instance ID"};
inline constexpr IdKind kVolumeIds{"VolumeId", "vol-", "InvalidVolumeID.Malformed",
                                   "InvalidVolume.NotFound", "volume"};
inline constexpr IdKind kSnapshotIds{"SnapshotId", "snap-", "InvalidSnapshotID.Malformed",
                                     "InvalidSnapshot.NotFound", "snapshot"};
inline constexpr IdKind kImageIds{"ImageId", "ami-", "InvalidAMIID.Malformed",
                                  "InvalidAMIID.NotFound", "image id"};
Result<void> CheckId(const IdKind& kind, std::string_view id);
Error NotFound(const IdKind& kind, std::string_view id);
/// The ids that a request names (PARAMETER.N), each well-formed and one for which `known` is true.
/// None named: none. Errors: KIND.Malformed, NOT_FOUND.
Result<std::set<std::string>> ListedIds(const QueryParameters& parameters, const IdKind& kind,
                                        const std::function<bool(const std::string&)>& known);
/// The one id of a request ("VolumeId"). Errors: MissingParameter, KIND.Malformed.
Result<std::string> OneId(const QueryParameters& parameters, const IdKind& kind);

}  // namespace vmferry::region::ec2
