// SPDX-License-Identifier: Apache-2.0
//
// Configuration of buckets: what is kept and returned, and what can be read although it can never
// be set.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/units.h"
#include "region/s3/checksum.h"
#include "region/s3/payload_text.h"
#include "region/s3/service.h"
#include "region/s3/tags.h"
#include "text/xml.h"

namespace vmferry::region::s3 {
namespace {

using text::XmlElement;

constexpr std::string_view kDefaultEncryption =
    "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
    "</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule>";
constexpr std::string_view kDefaultAccessBlock =
    "<BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls>"
    "<BlockPublicPolicy>true</BlockPublicPolicy>"
    "<RestrictPublicBuckets>true</RestrictPublicBuckets>";
constexpr std::size_t kLifecycleRulesMax = 1000;
// A setting that was deleted and is not at its default any more.
constexpr std::string_view kRemoved = "";

/// What the API calls a setting, and what it answers when it is not set.
struct Kind {
  std::string_view parameter;  ///< in the query, and in the database
  std::string_view root;       ///< of its document
  std::string_view default_inner;
  std::string_view absent_code;
  std::string_view absent_message;
};

constexpr std::array<Kind, 5> kKinds = {{
    {"tagging", "Tagging", "", "NoSuchTagSet", "The TagSet does not exist"},
    {"lifecycle", "LifecycleConfiguration", "", "NoSuchLifecycleConfiguration",
     "The lifecycle configuration does not exist"},
    {"encryption", "ServerSideEncryptionConfiguration", kDefaultEncryption,
     "ServerSideEncryptionConfigurationNotFoundError",
     "The server side encryption configuration was not found"},
    {"ownershipControls", "OwnershipControls",
     "<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>",
     "OwnershipControlsNotFoundError", "The bucket ownership controls were not found"},
    {"publicAccessBlock", "PublicAccessBlockConfiguration", kDefaultAccessBlock,
     "NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found"},
}};

const Kind* KindOf(const Call& call) {
  for (const Kind& kind : kKinds) {
    if (call.FindQuery(kind.parameter) != nullptr) return &kind;
  }
  return nullptr;
}

bool IsBoolean(const std::string& text) { return text == "true" || text == "false"; }

MaybeFault ReadEncryption(const XmlElement& root, std::string& inner) {
  if (root.children.size() != 1 || root.children[0].name != "Rule") return MalformedXml();
  const XmlElement& rule = root.children[0];
  const std::string algorithm = rule.TextAt("ApplyServerSideEncryptionByDefault/SSEAlgorithm");
  if (algorithm == "aws:kms" || algorithm == "aws:kms:dsse") {
    return NotImplemented(fmt::format("encryption with {}", algorithm));
  }
  if (algorithm != "AES256") return MalformedXml();
  if (rule.FindPath("ApplyServerSideEncryptionByDefault/KMSMasterKeyID") != nullptr) {
    return InvalidArgument(
        "a KMSMasterKeyID is not applicable if the default sse algorithm is "
        "not aws:kms or aws:kms:dsse",
        "ApplyServerSideEncryptionByDefault", "");
  }
  const XmlElement* key = rule.Find("BucketKeyEnabled");
  if (key != nullptr && !IsBoolean(key->text)) return MalformedXml();
  inner = fmt::format(
      "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
      "</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>{}</BucketKeyEnabled></Rule>",
      key == nullptr ? "false" : key->text);
  return std::nullopt;
}

MaybeFault ReadOwnership(const XmlElement& root, std::string& inner) {
  const std::string value = root.TextAt("Rule/ObjectOwnership");
  if (root.children.size() != 1 || (value != "BucketOwnerEnforced" &&
                                    value != "BucketOwnerPreferred" && value != "ObjectWriter")) {
    return MalformedXml();
  }
  inner = fmt::format("<Rule><ObjectOwnership>{}</ObjectOwnership></Rule>", value);
  return std::nullopt;
}

MaybeFault ReadAccessBlock(const XmlElement& root, std::string& inner) {
  static constexpr std::string_view kNames[] = {"BlockPublicAcls", "IgnorePublicAcls",
                                                "BlockPublicPolicy", "RestrictPublicBuckets"};
  for (const XmlElement& child : root.children) {
    const bool known = std::ranges::find(kNames, child.name) != std::end(kNames);
    if (!known || !IsBoolean(child.text)) return MalformedXml();
  }
  for (const std::string_view name : kNames) {
    const XmlElement* child = root.Find(name);
    inner += fmt::format("<{0}>{1}</{0}>", name, child == nullptr ? "false" : child->text);
  }
  return std::nullopt;
}

/// An element again as XML, blanks between elements left out.
void Write(const XmlElement& element, text::XmlWriter& xml) {
  if (element.children.empty()) {
    xml.Element(element.name, text::Trim(element.text));
    return;
  }
  xml.Open(element.name);
  for (const XmlElement& child : element.children) Write(child, xml);
  xml.Close();
}

MaybeFault CheckLifecycleRule(const XmlElement& rule, std::set<std::string>& ids) {
  static constexpr std::string_view kKnown[] = {"ID",
                                                "Status",
                                                "Filter",
                                                "Prefix",
                                                "Expiration",
                                                "Transition",
                                                "NoncurrentVersionExpiration",
                                                "NoncurrentVersionTransition",
                                                "AbortIncompleteMultipartUpload"};
  if (rule.name != "Rule") return MalformedXml();
  bool acts = false;
  for (const XmlElement& child : rule.children) {
    const auto* const known = std::ranges::find(kKnown, child.name);
    if (known == std::end(kKnown)) return MalformedXml();
    acts = acts || known - std::begin(kKnown) >= 4;
  }
  const std::string status = rule.TextAt("Status");
  if (status != "Enabled" && status != "Disabled") return MalformedXml();
  if (rule.Find("Filter") != nullptr && rule.Find("Prefix") != nullptr) return MalformedXml();
  if (rule.Find("Filter") == nullptr && rule.Find("Prefix") == nullptr) return MalformedXml();
  const std::string id = rule.TextAt("ID");
  if (id.size() > 255) {
    return InvalidArgument("ID length should not exceed allowed limit of 255", "ID", id);
  }
  if (!id.empty() && !ids.insert(id).second) {
    return InvalidArgument("Rule ID must be unique. Found same ID for more than one rule", "ID",
                           id);
  }
  if (!acts) {
    return InvalidRequest("At least one action needs to be specified in a rule");
  }
  for (const std::string_view path :
       {"Expiration/Days", "AbortIncompleteMultipartUpload/DaysAfterInitiation"}) {
    if (rule.FindPath(path) == nullptr) continue;
    const std::string days = rule.TextAt(path);
    const auto number = ParseUint(days);
    if (!number || *number < 1 || *number > 2147483647) {
      return InvalidArgument(
          fmt::format("'{}' must be a positive integer", path.substr(path.find('/') + 1)), "Days",
          days);
    }
  }
  return std::nullopt;
}

MaybeFault ReadLifecycle(const XmlElement& root, sys::Random& random, std::string& inner) {
  if (root.children.empty() || root.children.size() > kLifecycleRulesMax) return MalformedXml();
  std::set<std::string> ids;
  text::XmlWriter xml(false);
  for (const XmlElement& rule : root.children) {
    if (auto fault = CheckLifecycleRule(rule, ids)) return fault;
    XmlElement kept = rule;
    if (rule.TextAt("ID").empty()) {
      std::erase_if(kept.children, [](const XmlElement& child) { return child.name == "ID"; });
      XmlElement id;
      id.name = "ID";
      id.text = random.Hex(32);
      kept.children.insert(kept.children.begin(), std::move(id));
    }
    Write(kept, xml);
  }
  inner = xml.Finish();
  return std::nullopt;
}

MaybeFault ReadSetting(const Kind& kind, const std::string& body, sys::Random& random,
                       std::string& inner) {
  if (kind.parameter == "tagging") {
    std::vector<NameValue> tags;
    if (auto fault = ReadTagging(body, kBucketTagsMax, tags)) return fault;
    const std::string document = TaggingXml(tags);
    const std::size_t start = document.find("<TagSet");
    const std::size_t end = document.find("</Tagging>");
    inner = document.substr(start, end - start);
    return std::nullopt;
  }
  const auto root = text::ParseXml(body);
  if (!root || root->name != kind.root) return MalformedXml();
  if (kind.parameter == "encryption") return ReadEncryption(*root, inner);
  if (kind.parameter == "ownershipControls") return ReadOwnership(*root, inner);
  if (kind.parameter == "publicAccessBlock") return ReadAccessBlock(*root, inner);
  return ReadLifecycle(*root, random, inner);
}

/// Where an operation reads what can never be set: the document of a bucket that has none, or the
/// error.
struct NeverSet {
  std::string_view operation;
  std::string_view document;  ///< the element's name, or "Name/Child=text"; empty: the error
  int status;
  std::string_view code;
  std::string_view message;
};

constexpr std::array<NeverSet, 11> kNeverSet = {{
    {"GetBucketPolicy", "", 404, "NoSuchBucketPolicy", "The bucket policy does not exist"},
    {"GetBucketPolicyStatus", "", 404, "NoSuchBucketPolicy", "The bucket policy does not exist"},
    {"GetBucketCors", "", 404, "NoSuchCORSConfiguration", "The CORS configuration does not exist"},
    {"GetBucketWebsite", "", 404, "NoSuchWebsiteConfiguration",
     "The specified bucket does not have a website configuration"},
    {"GetBucketReplication", "", 404, "ReplicationConfigurationNotFoundError",
     "The replication configuration was not found"},
    {"GetObjectLockConfiguration", "", 404, "ObjectLockConfigurationNotFoundError",
     "Object Lock configuration does not exist for this bucket"},
    {"GetBucketLogging", "BucketLoggingStatus", 200, "", ""},
    {"GetBucketNotificationConfiguration", "NotificationConfiguration", 200, "", ""},
    {"GetBucketAccelerateConfiguration", "AccelerateConfiguration", 200, "", ""},
    {"GetBucketVersioning", "VersioningConfiguration", 200, "", ""},
    {"GetBucketRequestPayment", "RequestPaymentConfiguration/Payer=BucketOwner", 200, "", ""},
}};

}  // namespace

Outcome S3Service::GetBucketSetting(Call& call, const Address& address) {
  const Kind* kind = KindOf(call);
  if (kind == nullptr) return NotImplemented(call.operation);
  auto value = records_->FindSetting(address.bucket, kind->parameter);
  if (!value) return Internal(value.error());
  const std::string inner = value->value_or(std::string(kind->default_inner));
  if (inner.empty()) {
    return S3Fault{404,
                   std::string(kind->absent_code),
                   std::string(kind->absent_message),
                   {{"BucketName", address.bucket}}};
  }
  Answer answer =
      XmlAnswer(fmt::format("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{0} xmlns=\"{1}\">{2}"
                            "</{0}>",
                            kind->root, kNamespace, inner));
  if (kind->parameter == "lifecycle") {
    answer.headers.emplace_back("x-amz-transition-default-minimum-object-size",
                                "all_storage_classes_128K");
  }
  return answer;
}

Outcome S3Service::PutBucketSetting(Call& call, const Address& address) {
  const Kind* kind = KindOf(call);
  if (kind == nullptr) return NotImplemented(call.operation);
  std::string body;
  if (auto fault = ReadCheckedText(call, body)) return *std::move(fault);
  std::string inner;
  if (auto fault = ReadSetting(*kind, body, context_.random, inner)) return *std::move(fault);
  if (auto put = records_->PutSetting(address.bucket, kind->parameter, inner); !put) {
    return Internal(put.error());
  }
  Answer answer;
  if (kind->parameter == "tagging") answer.status = 204;
  if (kind->parameter == "lifecycle") {
    answer.headers.emplace_back("x-amz-transition-default-minimum-object-size",
                                "all_storage_classes_128K");
  }
  return answer;
}

Outcome S3Service::DeleteBucketSetting(Call& call, const Address& address) {
  const Kind* kind = KindOf(call);
  if (kind == nullptr) return NotImplemented(call.operation);
  // The default encryption comes back; defaults that only new buckets have do not.
  const bool to_default = kind->default_inner.empty() || kind->parameter == "encryption";
  const auto value = to_default ? std::optional<std::string>() : std::string(kRemoved);
  if (auto put = records_->PutSetting(address.bucket, kind->parameter, value); !put) {
    return Internal(put.error());
  }
  Answer answer;
  answer.status = 204;
  return answer;
}

Outcome S3Service::GetNeverSet(Call& call, const Address& address) {
  for (const NeverSet& known : kNeverSet) {
    if (known.operation != call.operation) continue;
    if (known.document.empty()) {
      return S3Fault{known.status,
                     std::string(known.code),
                     std::string(known.message),
                     {{"BucketName", address.bucket}}};
    }
    const std::string_view name = known.document.substr(0, known.document.find('/'));
    text::XmlWriter xml;
    if (name.size() == known.document.size()) {
      xml.Empty(name, {{"xmlns", std::string(kNamespace)}});
    } else {
      const std::string_view child = known.document.substr(name.size() + 1);
      const std::size_t equals = child.find('=');
      xml.Open(name, {{"xmlns", std::string(kNamespace)}})
          .Element(child.substr(0, equals), child.substr(equals + 1));
    }
    return XmlAnswer(xml.Finish());
  }
  return NotImplemented(call.operation);
}

// Who owns what is not a matter of ACLs here, as in every bucket of today: all belongs to the
// account, and no ACL can be put.
Outcome S3Service::GetAcl(Call&, const Address& address) {
  if (!address.key.empty()) {
    auto found = records_->FindObject(address.bucket, address.key);
    if (!found) return Internal(found.error());
    if (!found->has_value()) return NoSuchKey(address.key);
  }
  const std::string& account = context_.settings.account_id;
  text::XmlWriter xml;
  xml.Open("AccessControlPolicy", {{"xmlns", std::string(kNamespace)}});
  xml.Open("Owner").Element("ID", account).Close();
  xml.Open("AccessControlList").Open("Grant");
  xml.Open("Grantee", {{"xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance"},
                       {"xsi:type", "CanonicalUser"}})
      .Element("ID", account)
      .Close();
  xml.Element("Permission", "FULL_CONTROL");
  return XmlAnswer(xml.Finish());
}

Outcome S3Service::PutAcl(Call&, const Address&) {
  return S3Fault{400, "AccessControlListNotSupported", "The bucket does not allow ACLs", {}};
}

}  // namespace vmferry::region::s3
