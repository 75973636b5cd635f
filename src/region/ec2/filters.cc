// SPDX-License-Identifier: Apache-2.0
#include "region/ec2/filters.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/text_codec.h"
#include "region/vm/ids.h"

namespace vmferry::region::ec2 {
namespace {

constexpr std::uint64_t kMaxResultsMax = 1000;
constexpr std::string_view kTokenPrefix = "after:";

}  // namespace

// Iterative with one point of return: the classic algorithm, linear for patterns with one star.
bool MatchesWildcard(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t star_text = 0;
  while (t < text.size()) {
    const bool escaped = p + 1 < pattern.size() && pattern[p] == '\\';
    if (p < pattern.size() && !escaped && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() &&
               (escaped ? pattern[p + 1] == text[t] : pattern[p] == '?' || pattern[p] == text[t])) {
      p += escaped ? 2 : 1;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Filters Filters::Parse(const QueryParameters& parameters, std::string_view list) {
  Filters filters;
  for (const std::uint64_t index : parameters.Indices(list)) {
    filters.filters_.push_back(
        {.name = parameters.Member(list, index, "Name"),
         .patterns = parameters.List(fmt::format("{}.{}.Value", list, index))});
  }
  return filters;
}

Result<bool> Filters::Match(const vm::TagMap& tags, const Values& values) const {
  bool matches = true;
  for (const Filter& filter : filters_) {
    std::optional<std::vector<std::string>> found;
    if (filter.name.starts_with("tag:")) {
      const auto tag = tags.find(std::string_view(filter.name).substr(4));
      found.emplace();
      if (tag != tags.end()) found->push_back(tag->second);
    } else if (filter.name == "tag-key") {
      found.emplace();
      for (const auto& [key, value] : tags) found->push_back(key);
    } else {
      found = values(filter.name);
    }
    if (!found) {
      return Refuse("InvalidParameterValue",
                    fmt::format("The filter '{}' is invalid", filter.name));
    }
    matches = matches &&
              std::any_of(
                  filter.patterns.begin(), filter.patterns.end(), [&](const std::string& pattern) {
                    return std::any_of(found->begin(), found->end(), [&](const auto& value) {
                      return MatchesWildcard(pattern, value);
                    });
                  });
  }
  return matches;
}

Result<Page> Page::Parse(const QueryParameters& parameters, bool with_ids) {
  Page page;
  if (parameters.Has("MaxResults")) {
    if (with_ids) {
      return Refuse("InvalidParameterCombination",
                    "The parameter MaxResults cannot be used with explicit ids");
    }
    const auto limit = ParseUint(parameters.Get("MaxResults"));
    if (!limit || *limit == 0 || *limit > kMaxResultsMax) {
      return Refuse("InvalidMaxResults",
                    fmt::format("Value ({}) for parameter maxResults is invalid. Expecting a "
                                "value between 1 and {}.",
                                parameters.Get("MaxResults"), kMaxResultsMax));
    }
    page.limit_ = *limit;
  }
  if (const std::string* token = parameters.Find("NextToken"); token && !token->empty()) {
    const auto bytes = codec::Base64Decode(*token);
    const std::string_view text = bytes ? AsText(*bytes) : std::string_view();
    if (!text.starts_with(kTokenPrefix)) {
      return Refuse("InvalidNextToken", "The token is not one that this region gave");
    }
    page.after_ = text.substr(kTokenPrefix.size());
  }
  return page;
}

bool Page::Take(std::string_view id) {
  if (!after_.empty() && id <= after_) return false;
  if (limit_ > 0 && taken_ == limit_) {
    more_ = true;
    return false;
  }
  ++taken_;
  last_ = id;
  return true;
}

void Page::WriteToken(text::XmlWriter& reply) const {
  if (!more_) return;
  reply.Element("nextToken", codec::Base64Encode(AsBytes(std::string(kTokenPrefix) + last_)));
}

Result<void> CheckId(const IdKind& kind, std::string_view id) {
  if (vm::IsResourceId(id, kind.prefix)) return {};
  return Refuse(kind.malformed,
                fmt::format("Invalid id: \"{}\" (expecting \"{}...\")", id, kind.prefix));
}

Error NotFound(const IdKind& kind, std::string_view id) {
  if (kind.prefix == "ami-") {  // EC2 lists them here
    return Refuse(kind.not_found, fmt::format("The {} '[{}]' does not exist", kind.noun, id));
  }
  return Refuse(kind.not_found, fmt::format("The {} '{}' does not exist", kind.noun, id));
}

Result<std::set<std::string>> ListedIds(const QueryParameters& parameters, const IdKind& kind,
                                        const std::function<bool(const std::string&)>& known) {
  std::set<std::string> ids;
  for (const std::string& id : parameters.List(kind.parameter)) {
    VMFERRY_RETURN_IF_ERROR(CheckId(kind, id));
    if (!known(id)) return NotFound(kind, id);
    ids.insert(id);
  }
  return ids;
}

Result<std::string> OneId(const QueryParameters& parameters, const IdKind& kind) {
  VMFERRY_ASSIGN_OR_RETURN(std::string id, Required(parameters, kind.parameter));
  VMFERRY_RETURN_IF_ERROR(CheckId(kind, id));
  return id;
}

}  // namespace vmferry::region::ec2
