// SPDX-License-Identifier: Apache-2.0
#include "region/core/policy_document.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/json.h"

namespace vmferry::region {
namespace {

using text::Json;

constexpr std::size_t kDocumentBytesMax = 128 * 1024;  // quotas of IAM are far below
constexpr std::string_view kIfExists = "IfExists";

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string LowerCase(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), Lower);
  return out;
}

Error Malformed(std::string message) {
  return Error(ErrorCode::kInvalidArgument, "region.malformed_policy", std::move(message));
}

Error NotModelled(std::string what) {
  return Error(ErrorCode::kUnimplemented, "region.policy_not_modelled",
               fmt::format("the embedded region does not model {}", what));
}

/// A string, or a list of strings, as a list. Nothing for anything else.
std::optional<std::vector<std::string>> Strings(const Json& value) {
  if (value.IsString()) return std::vector<std::string>{value.AsString()};
  if (!value.IsArray()) return std::nullopt;
  std::vector<std::string> out;
  for (const Json& item : value.Items()) {
    if (!item.IsString()) return std::nullopt;
    out.push_back(item.AsString());
  }
  return out;
}

/// A condition operator without IfExists.
struct Operator {
  std::string_view name;
  bool wildcards;
  bool ignore_case;
  bool negated;
};

// ArnEquals and ArnLike behave alike (IAM User Guide, "ARN condition operators").
constexpr std::array<Operator, 10> kOperators = {{
    {"StringEquals", false, false, false},
    {"StringNotEquals", false, false, true},
    {"StringEqualsIgnoreCase", false, true, false},
    {"StringNotEqualsIgnoreCase", false, true, true},
    {"StringLike", true, false, false},
    {"StringNotLike", true, false, true},
    {"ArnEquals", true, false, false},
    {"ArnNotEquals", true, false, true},
    {"ArnLike", true, false, false},
    {"ArnNotLike", true, false, true},
}};

const Operator* FindOperator(std::string_view name, bool& if_exists) {
  if_exists = name.ends_with(kIfExists);
  if (if_exists) name.remove_suffix(kIfExists.size());
  for (const Operator& known : kOperators) {
    if (known.name == name) return &known;
  }
  return nullptr;
}

const std::string* FindKey(const PolicyQuestion& question, std::string_view name) {
  const std::string wanted = LowerCase(name);
  for (const auto& [key, value] : question.keys) {
    if (LowerCase(key) == wanted) return &value;
  }
  return nullptr;
}

/// One operator's block: all of its keys must hold.
bool BlockHolds(std::string_view operator_name, const Json& block, const PolicyQuestion& question) {
  bool if_exists = false;
  const Operator* known = FindOperator(operator_name, if_exists);
  if (known == nullptr) return false;
  for (const auto& [key, wanted] : block.Members()) {
    const std::string* value = FindKey(question, key);
    if (value == nullptr) {
      if (if_exists || known->negated) continue;
      return false;
    }
    const auto texts = Strings(wanted);
    if (!texts) return false;
    const bool found = std::ranges::any_of(*texts, [&](const std::string& text) {
      if (known->wildcards) return MatchesWildcards(text, *value);
      return known->ignore_case ? LowerCase(text) == LowerCase(*value) : text == *value;
    });
    if (found == known->negated) return false;
  }
  return true;
}

bool ConditionHolds(const Json& statement, const PolicyQuestion& question) {
  for (const auto& [name, block] : statement["Condition"].Members()) {
    if (!BlockHolds(name, block, question)) return false;
  }
  return true;
}

/// "123456789012" or "arn:aws:iam::123456789012:root" stand for all of the account.
bool IsPrincipal(std::string_view named, std::string_view arn) {
  if (named == "*" || named == arn) return true;
  constexpr std::string_view kStart = "arn:aws:iam::";
  std::string_view account = named;
  if (named.starts_with(kStart) && named.ends_with(":root")) {
    account = named.substr(kStart.size(), named.size() - kStart.size() - 5);
  }
  if (account.size() != 12) return false;
  return arn.find(fmt::format("::{}:", account)) != arn.npos;
}

bool PrincipalFits(const Json& principal, const PolicyQuestion& question) {
  if (principal.IsString()) return principal.AsString() == "*";
  if (!question.service.empty()) {
    const auto services = Strings(principal["Service"]);
    return services && std::ranges::find(*services, question.service) != services->end();
  }
  const auto accounts = Strings(principal["AWS"]);
  return accounts && std::ranges::any_of(*accounts, [&](const std::string& named) {
           return IsPrincipal(named, question.principal_arn);
         });
}

bool AnyMatches(const Json& list, std::string_view value, bool ignore_case) {
  const auto patterns = Strings(list);
  if (!patterns) return false;
  return std::ranges::any_of(*patterns, [&](const std::string& pattern) {
    return ignore_case ? MatchesWildcards(LowerCase(pattern), LowerCase(value))
                       : MatchesWildcards(pattern, value);
  });
}

bool StatementFits(const Json& statement, PolicyKind kind, const PolicyQuestion& question) {
  if (!AnyMatches(statement["Action"], question.action, true)) return false;
  if (kind == PolicyKind::kTrust) {
    if (!PrincipalFits(statement["Principal"], question)) return false;
  } else if (!AnyMatches(statement["Resource"], question.resource, false)) {
    return false;
  }
  return ConditionHolds(statement, question);
}

std::vector<Json> StatementsOf(const Json& document) {
  const Json& statement = document["Statement"];
  if (statement.IsObject()) return {statement};
  return statement.Items();
}

Result<void> CheckCondition(const Json& condition) {
  if (condition.IsNull()) return {};
  if (!condition.IsObject()) return Malformed("Syntax errors in policy.");
  for (const auto& [name, block] : condition.Members()) {
    bool if_exists = false;
    if (FindOperator(name, if_exists) == nullptr) {
      return NotModelled(fmt::format("the condition operator {}", name));
    }
    if (!block.IsObject()) return Malformed("Syntax errors in policy.");
    for (const auto& [key, value] : block.Members()) {
      if (!Strings(value)) return Malformed("Syntax errors in policy.");
    }
  }
  return {};
}

Result<void> CheckPrincipal(const Json& principal) {
  if (principal.IsNull()) return Malformed("Missing required field Principal");
  if (principal.IsString()) {
    if (principal.AsString() == "*") return {};
    return Malformed("Invalid principal in policy.");
  }
  if (principal.Members().empty())
    return Malformed("Missing required field Principal cannot be empty!");
  for (const auto& [kind, names] : principal.Members()) {
    if (kind == "Federated" || kind == "CanonicalUser") {
      return NotModelled(fmt::format("principals of the kind {}", kind));
    }
    if (kind != "AWS" && kind != "Service") {
      return Malformed(fmt::format("Invalid principal in policy: \"{}\"", kind));
    }
    if (!Strings(names)) return Malformed("Invalid principal in policy.");
  }
  return {};
}

Result<void> CheckStatement(const Json& statement, PolicyKind kind) {
  static constexpr std::string_view kKnown[] = {"Sid",    "Effect",   "Principal",
                                                "Action", "Resource", "Condition"};
  if (!statement.IsObject()) return Malformed("Syntax errors in policy.");
  for (const auto& [name, value] : statement.Members()) {
    if (name == "NotAction" || name == "NotResource" || name == "NotPrincipal") {
      return NotModelled(fmt::format("the policy element {}", name));
    }
    if (std::ranges::find(kKnown, name) == std::end(kKnown)) {
      return Malformed("Syntax errors in policy.");
    }
  }
  const std::string effect = statement["Effect"].AsString();
  if (statement["Effect"].IsNull()) return Malformed("Missing required field Effect");
  if (effect != "Allow" && effect != "Deny") {
    return Malformed(fmt::format("Invalid effect: {}", effect));
  }
  const auto actions = Strings(statement["Action"]);
  if (statement["Action"].IsNull() || !actions || actions->empty()) {
    return Malformed("Policy statement must contain actions.");
  }
  for (const std::string& action : *actions) {
    if (action != "*" && action.find(':') == action.npos) {
      return Malformed(
          "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.");
    }
  }
  if (kind == PolicyKind::kTrust) {
    if (!statement["Resource"].IsNull()) return Malformed("Has prohibited field Resource");
    VMFERRY_RETURN_IF_ERROR(CheckPrincipal(statement["Principal"]));
  } else {
    if (!statement["Principal"].IsNull()) {
      return Malformed("Policy document should not specify a principal.");
    }
    const auto resources = Strings(statement["Resource"]);
    if (!resources || resources->empty()) {
      return Malformed("Policy statement must contain resources.");
    }
    for (const std::string& resource : *resources) {
      if (resource != "*" && !resource.starts_with("arn:")) {
        return Malformed(fmt::format("Resource {} must be in ARN format or \"*\".", resource));
      }
    }
  }
  return CheckCondition(statement["Condition"]);
}

bool AnyStatement(std::string_view document, PolicyKind kind, const PolicyQuestion& question,
                  std::string_view effect) {
  if (!CheckPolicy(document, kind)) return false;
  const auto json = Json::Parse(document, kDocumentBytesMax);
  if (!json) return false;
  for (const Json& statement : StatementsOf(*json)) {
    if (statement["Effect"].AsString() == effect && StatementFits(statement, kind, question)) {
      return true;
    }
  }
  return false;
}

}  // namespace

Result<void> CheckPolicy(std::string_view document, PolicyKind kind) {
  const auto json = Json::Parse(document, kDocumentBytesMax);
  if (!json || !json->IsObject()) {
    return Malformed(kind == PolicyKind::kTrust ? "This policy contains invalid Json"
                                                : "Syntax errors in policy.");
  }
  for (const auto& [name, value] : json->Members()) {
    if (name != "Version" && name != "Id" && name != "Statement") {
      return Malformed("Syntax errors in policy.");
    }
  }
  const std::string version = (*json)["Version"].AsString("2008-10-17");
  if (version != "2012-10-17" && version != "2008-10-17") {
    return Malformed("The policy must contain a valid version string");
  }
  const std::vector<Json> statements = StatementsOf(*json);
  if (statements.empty()) return Malformed("Syntax errors in policy.");
  for (const Json& statement : statements) {
    VMFERRY_RETURN_IF_ERROR(CheckStatement(statement, kind));
  }
  return {};
}

bool PolicyAllows(std::string_view document, PolicyKind kind, const PolicyQuestion& question) {
  return AnyStatement(document, kind, question, "Allow") &&
         !AnyStatement(document, kind, question, "Deny");
}

bool PolicyDenies(std::string_view document, PolicyKind kind, const PolicyQuestion& question) {
  return AnyStatement(document, kind, question, "Deny");
}

bool MatchesWildcards(std::string_view pattern, std::string_view text) {
  // Greedy with one point to come back to: linear in most cases, quadratic at worst.
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = pattern.npos;
  std::size_t mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != pattern.npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace vmferry::region
