// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "text/json.h"
#include "text/xml.h"

namespace vmferry::text {
namespace {

TEST(Json, RefusesTwoMembersOfOneName) {
  const auto value = Json::Parse(R"({"a": {"b": 1, "c": 2, "b": 3}})");
  ASSERT_FALSE(value.has_value());
  EXPECT_EQ(value.error().reason(), "json.malformed");
}

TEST(Json, ReadsObjectsWithManyMembersInTheirOrder) {
  std::string text = "{";
  for (int i = 20000; i > 0; --i) text += '"' + std::to_string(i) + "\":1,";
  text += "\"last\":2}";
  const auto value = Json::Parse(text);
  ASSERT_TRUE(value.has_value());
  ASSERT_EQ(value->Members().size(), 20001U);
  EXPECT_EQ(value->Members().front().first, "20000");
  EXPECT_EQ(value->Members().back().first, "last");
}

TEST(Json, RoundTripsInOrder) {
  const std::string text = R"({"b":1,"a":[true,null,"x\n\"ü\"",-2.5],"c":{}})";
  const auto json = Json::Parse(text);
  ASSERT_TRUE(json);
  EXPECT_EQ(json->Dump(), text);
  EXPECT_EQ((*json)["a"].Items()[2].AsString(), "x\n\"ü\"");
  EXPECT_EQ((*json)["missing"]["too"].AsInt(7), 7);
}

TEST(Json, RefusesMalformedDeepAndLarge) {
  for (const char* text : {"", "{", "{\"a\":}", "[1,]", "nul", "\"\xff\"", "{} x"}) {
    const auto json = Json::Parse(text);
    ASSERT_FALSE(json) << text;
    EXPECT_EQ(json.error().reason(), "json.malformed");
  }
  EXPECT_EQ(Json::Parse(std::string(100, '[')).error().reason(), "json.too_deep");
  EXPECT_EQ(Json::Parse("[1,2,3]", 3).error().reason(), "json.too_large");
}

TEST(Json, BuildsAndPrintsPretty) {
  Json json;
  json.Set("n", std::uint64_t{5}).Set("list", Json::MakeArray().Append("x"));
  EXPECT_EQ(json.Dump(true), "{\n  \"n\": 5,\n  \"list\": [\n    \"x\"\n  ]\n}");
}

TEST(Xml, ReadsElementsAttributesAndText) {
  const auto root = ParseXml(
      "<?xml version=\"1.0\"?><m xmlns=\"urn:x\"><a i='1'> t&amp;u </a><a "
      "i=\"2\"/><b><c>d</c></b></m>");
  ASSERT_TRUE(root) << root.error().ToString();
  EXPECT_EQ(root->name, "m");
  EXPECT_EQ(root->namespace_uri, "urn:x");
  EXPECT_EQ(root->TextAt("a"), "t&u");
  EXPECT_EQ(root->TextAt("b/c"), "d");
  EXPECT_EQ(root->children[1].Attribute("i"), "2");
  EXPECT_EQ(root->FindPath("b/x"), nullptr);
}

TEST(Xml, RefusesDoctypesBombsAndDamage) {
  EXPECT_EQ(ParseXml("<!DOCTYPE m [<!ENTITY a \"b\">]><m>&a;</m>").error().reason(), "xml.doctype");
  EXPECT_EQ(ParseXml("<m><a></m>").error().reason(), "xml.malformed");
  EXPECT_EQ(ParseXml("").error().reason(), "xml.malformed");
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "<a>";
  EXPECT_EQ(ParseXml(deep).error().reason(), "xml.too_large");
  EXPECT_EQ(ParseXml("<m><a/><a/></m>", {.elements = 2}).error().reason(), "xml.too_large");
}

TEST(XmlWriter, WritesWhatTheReaderReads) {
  XmlWriter writer(true, true);
  writer.Open("m").Element("a", "x & <y>", {{"i", "\"1\""}}).Empty("r", {{"end", "5"}});
  const std::string document = writer.Finish();
  EXPECT_EQ(document,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<m>\n    <a i=\"&quot;1&quot;\">x &amp; "
            "&lt;y&gt;</a>\n    <r end=\"5\"/>\n</m>\n");
  const auto root = ParseXml(document);
  ASSERT_TRUE(root);
  EXPECT_EQ(root->TextAt("a"), "x & <y>");
  EXPECT_EQ(root->Find("a")->Attribute("i"), "\"1\"");
}

}  // namespace
}  // namespace vmferry::text
