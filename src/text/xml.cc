// SPDX-License-Identifier: Apache-2.0
#include "text/xml.h"

#include <expat.h>
#include <fmt/format.h>

#include <memory>

namespace vmferry::text {
namespace {

constexpr char kNamespaceSeparator = '\x1f';
constexpr std::string_view kBlanks = " \t\r\n";

struct FreeParser {
  void operator()(XML_Parser parser) const { XML_ParserFree(parser); }
};

struct TreeBuilder {
  XML_Parser parser = nullptr;
  XmlLimits limits;
  XmlElement root;
  std::vector<XmlElement*> open;  // pointers stay valid: only the last child's children grow
  std::size_t elements = 0;
  bool doctype = false;
  bool too_large = false;

  void Stop() { XML_StopParser(parser, XML_FALSE); }
};

void OnStart(void* data, const XML_Char* name, const XML_Char** attributes) {
  auto& builder = *static_cast<TreeBuilder*>(data);
  if (++builder.elements > builder.limits.elements || builder.open.size() >= builder.limits.depth) {
    builder.too_large = true;
    builder.Stop();
    return;
  }
  XmlElement element;
  const std::string_view full = name;
  const std::size_t separator = full.find(kNamespaceSeparator);
  element.name = separator == full.npos ? full : full.substr(separator + 1);
  if (separator != full.npos) element.namespace_uri = full.substr(0, separator);
  for (; attributes[0] != nullptr; attributes += 2) {
    std::string_view attribute = attributes[0];
    const std::size_t prefix_end = attribute.find(kNamespaceSeparator);
    if (prefix_end != attribute.npos) attribute.remove_prefix(prefix_end + 1);
    element.attributes.emplace_back(attribute, attributes[1]);
  }
  if (builder.open.empty()) {
    builder.root = std::move(element);
    builder.open.push_back(&builder.root);
    return;
  }
  auto& siblings = builder.open.back()->children;
  siblings.push_back(std::move(element));
  builder.open.push_back(&siblings.back());
}

void OnEnd(void* data, const XML_Char*) { static_cast<TreeBuilder*>(data)->open.pop_back(); }

void OnText(void* data, const XML_Char* text, int length) {
  auto& builder = *static_cast<TreeBuilder*>(data);
  if (!builder.open.empty()) {
    builder.open.back()->text.append(text, static_cast<std::size_t>(length));
  }
}

void OnDoctype(void* data, const XML_Char*, const XML_Char*, const XML_Char*, int) {
  auto& builder = *static_cast<TreeBuilder*>(data);
  builder.doctype = true;
  builder.Stop();
}

}  // namespace

const XmlElement* XmlElement::Find(std::string_view child) const {
  for (const XmlElement& element : children) {
    if (element.name == child) return &element;
  }
  return nullptr;
}

const XmlElement* XmlElement::FindPath(std::string_view path) const {
  const XmlElement* element = this;
  while (element != nullptr && !path.empty()) {
    const std::size_t slash = path.find('/');
    element = element->Find(path.substr(0, slash));
    path = slash == path.npos ? std::string_view() : path.substr(slash + 1);
  }
  return element;
}

std::string XmlElement::TextAt(std::string_view path) const {
  const XmlElement* element = FindPath(path);
  return element == nullptr ? std::string() : std::string(Trim(element->text));
}

std::optional<std::string_view> XmlElement::Attribute(std::string_view attribute) const {
  for (const auto& [key, value] : attributes) {
    if (key == attribute) return value;
  }
  return std::nullopt;
}

std::string_view Trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

Result<XmlElement> ParseXml(std::string_view document, const XmlLimits& limits) {
  if (document.size() > limits.bytes) {
    return Error(ErrorCode::kInvalidArgument, "xml.too_large",
                 fmt::format("an XML document of {} bytes exceeds the limit of {}", document.size(),
                             limits.bytes));
  }
  const std::unique_ptr<XML_ParserStruct, FreeParser> parser(
      XML_ParserCreateNS(nullptr, kNamespaceSeparator));
  VMFERRY_CHECK(parser != nullptr);
  TreeBuilder builder;
  builder.parser = parser.get();
  builder.limits = limits;
  XML_SetUserData(parser.get(), &builder);
  XML_SetElementHandler(parser.get(), OnStart, OnEnd);
  XML_SetCharacterDataHandler(parser.get(), OnText);
  XML_SetStartDoctypeDeclHandler(parser.get(), OnDoctype);
  if (XML_Parse(parser.get(), document.data(), static_cast<int>(document.size()), 1) ==
      XML_STATUS_OK) {
    return std::move(builder.root);
  }
  if (builder.doctype) {
    return Error(ErrorCode::kInvalidArgument, "xml.doctype",
                 "an XML document declares a document type, which is not accepted");
  }
  if (builder.too_large) {
    return Error(ErrorCode::kInvalidArgument, "xml.too_large",
                 "an XML document has too many elements or is nested too deeply");
  }
  return Error(
      ErrorCode::kInvalidArgument, "xml.malformed",
      fmt::format("XML is malformed at line {}: {}", XML_GetCurrentLineNumber(parser.get()),
                  XML_ErrorString(XML_GetErrorCode(parser.get()))));
}

std::string XmlEscape(std::string_view text) {
  std::string escaped;
  escaped.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\r':
        escaped += "&#13;";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') {
          escaped += "\xEF\xBF\xBD";
        } else {
          escaped += c;
        }
    }
  }
  return escaped;
}

XmlWriter::XmlWriter(bool declaration, bool indent) : indent_(indent) {
  if (declaration) out_ = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
  if (declaration && !indent) out_ += '\n';
}

void XmlWriter::NewLine() {
  if (!indent_ || out_.empty()) return;
  out_ += '\n';
  out_.append(open_.size() * 4, ' ');
}

void XmlWriter::Tag(std::string_view name, const Attributes& attributes, std::string_view end) {
  out_ += '<';
  out_ += name;
  for (const auto& [key, value] : attributes) {
    out_ += fmt::format(" {}=\"{}\"", key, XmlEscape(value));
  }
  out_ += end;
}

XmlWriter& XmlWriter::Open(std::string_view name, const Attributes& attributes) {
  NewLine();
  Tag(name, attributes, ">");
  open_.emplace_back(name);
  return *this;
}

XmlWriter& XmlWriter::Close() {
  VMFERRY_CHECK(!open_.empty());
  const std::string name = std::move(open_.back());
  open_.pop_back();
  NewLine();
  out_ += "</" + name + ">";
  return *this;
}

XmlWriter& XmlWriter::Element(std::string_view name, std::string_view text,
                              const Attributes& attributes) {
  NewLine();
  Tag(name, attributes, ">");
  out_ += XmlEscape(text);
  out_ += fmt::format("</{}>", name);
  return *this;
}

XmlWriter& XmlWriter::Empty(std::string_view name, const Attributes& attributes) {
  NewLine();
  Tag(name, attributes, "/>");
  return *this;
}

std::string XmlWriter::Finish() {
  while (!open_.empty()) Close();
  if (indent_) out_ += '\n';
  return std::move(out_);
}

}  // namespace vmferry::text
