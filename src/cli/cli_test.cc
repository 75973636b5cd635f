// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>

#include "cli/arguments.h"
#include "cli/exit_code.h"
#include "cli/open_options.h"
#include "cli/render.h"
#include "cli/report.h"

namespace vmferry::cli {
namespace {

Result<ParsedArguments> Parse(std::vector<const char*> words) {
  words.insert(words.begin(), "vmferry");
  return ParseArguments(static_cast<int>(words.size()), words.data());
}

TEST(ParseArguments, ReadsMigrateWithItsDefaults) {
  const auto parsed = Parse({"migrate", "disk.vmdk"});
  ASSERT_TRUE(parsed) << parsed.error().ToString();
  const Arguments& arguments = *parsed->arguments;
  EXPECT_EQ(arguments.command, CommandName::kMigrate);
  EXPECT_EQ(arguments.source, "disk.vmdk");
  EXPECT_EQ(arguments.to, "local");
  EXPECT_EQ(arguments.parallel, 8U);
  EXPECT_EQ(arguments.checks, (std::vector<std::string>{"console", "ssh"}));
  EXPECT_EQ(arguments.until, std::nullopt);
}

TEST(ParseArguments, ReadsOptionsOfEachKind) {
  const auto parsed =
      Parse({"--output", "jsonl", "migrate", "d", "--to", "aws", "--check", "none", "--until",
             "import", "--security-group", "sg-1", "--security-group", "sg-2"});
  ASSERT_TRUE(parsed) << parsed.error().ToString();
  EXPECT_EQ(parsed->arguments->output, OutputForm::kJsonl);
  EXPECT_TRUE(parsed->arguments->checks.empty());
  EXPECT_EQ(parsed->arguments->until, migration::Step::kImport);
  EXPECT_EQ(parsed->arguments->security_groups.size(), 2U);
}

TEST(ParseArguments, TellsPortsApartFromNoPort) {
  EXPECT_EQ(Parse({"region", "start"})->arguments->port, std::nullopt);
  EXPECT_EQ(Parse({"region", "start", "--port", "0"})->arguments->port, 0);
}

TEST(ParseArguments, RefusesWhatItDoesNotKnow) {
  const std::vector<const char*> cases[] = {{},
                                            {"frobnicate"},
                                            {"migrate"},
                                            {"migrate", "d", "--no-such-option"},
                                            {"migrate", "d", "--to", "moon"},
                                            {"migrate", "d", "--check", "rdp"},
                                            {"migrate", "d", "--check", ""},
                                            {"migrate", "d", "--until", "lunch"},
                                            {"migrate", "d", "--parallel", "0"},
                                            {"migrate", "d", "--output", "xml"},
                                            {"region"},
                                            {"region", "start", "--port", "65536"},
                                            {"image"},
                                            {"image", "map"},
                                            {"image", "compare", "a"},
                                            {"image", "inspect", "a", "--disk", "0"},
                                            {"image", "hash", "a", "--tree", "t", "--check", "t"},
                                            {"verify"},
                                            {"verify", "mig-a", "--certificate", "f"}};
  for (const auto& words : cases) {
    const auto parsed = Parse(words);
    ASSERT_FALSE(parsed) << (words.empty() ? "" : words.back());
    EXPECT_EQ(parsed.error().reason(), "cli.usage");
    EXPECT_EQ(ExitCodeOf(parsed.error()), ExitCode::kUsage);
  }
}

TEST(ParseArguments, ReadsHowADiskIsOpened) {
  for (const std::vector<const char*>& command : {std::vector<const char*>{"migrate", "d"},
                                                  {"image", "inspect", "d"},
                                                  {"image", "map", "d"},
                                                  {"image", "compare", "d", "e"},
                                                  {"image", "hash", "d"}}) {
    std::vector<const char*> words = command;
    words.insert(words.end(), {"--allow-path", "/a", "--allow-path", "/b", "--disk", "2"});
    const auto parsed = Parse(words);
    ASSERT_TRUE(parsed) << parsed.error().ToString();
    const image::OpenOptions options = OpenOptionsOf(*parsed->arguments);
    EXPECT_EQ(options.allow_paths, (std::vector<std::filesystem::path>{"/a", "/b"}));
    EXPECT_EQ(options.disk, 2U);
    EXPECT_FALSE(options.allow_running);
  }
}

TEST(ParseArguments, AFolderDoesNotTakeTheDiskAlong) {
  const auto parsed = Parse({"image", "map", "--allow-path", "/a", "--allow-path", "/b", "d"});
  ASSERT_TRUE(parsed) << parsed.error().ToString();
  EXPECT_EQ(parsed->arguments->source, "d");
  EXPECT_EQ(parsed->arguments->allow_paths.size(), 2U);
}

TEST(ParseArguments, ReadsImageCompare) {
  const auto parsed = Parse(
      {"image", "compare", "a.vmdk", "b.ova", "--other-disk", "3", "--strict", "--allow-running"});
  ASSERT_TRUE(parsed) << parsed.error().ToString();
  const Arguments& arguments = *parsed->arguments;
  EXPECT_EQ(arguments.command, CommandName::kImageCompare);
  EXPECT_EQ(arguments.source, "a.vmdk");
  EXPECT_EQ(arguments.other, "b.ova");
  EXPECT_TRUE(arguments.strict_compare);
  EXPECT_EQ(OpenOptionsOf(arguments).disk, std::nullopt);
  EXPECT_EQ(OtherOpenOptionsOf(arguments).disk, 3U);
  EXPECT_TRUE(OtherOpenOptionsOf(arguments).allow_running);
}

TEST(ParseArguments, ReadsImageHash) {
  const auto write = Parse({"image", "hash", "d", "--tree", "t"});
  ASSERT_TRUE(write) << write.error().ToString();
  EXPECT_EQ(write->arguments->tree, "t");
  const auto check = Parse({"image", "hash", "d", "--check", "t"});
  ASSERT_TRUE(check) << check.error().ToString();
  EXPECT_EQ(check->arguments->check_tree, "t");
}

TEST(ParseArguments, HelpNamesTheWholeCommand) {
  const auto parsed = Parse({"region", "start", "--help"});
  ASSERT_TRUE(parsed);
  EXPECT_FALSE(parsed->arguments);
  EXPECT_NE(parsed->text.find("Usage: vmferry region start"), std::string::npos) << parsed->text;
}

TEST(ExitCodeOf, FollowsTheReason) {
  const auto code = [](ErrorCode error_code, const char* reason) {
    return ExitCodeOf(Error(error_code, reason, "m"));
  };
  EXPECT_EQ(code(ErrorCode::kDataLoss, "verify.differs"), ExitCode::kDiffers);
  EXPECT_EQ(code(ErrorCode::kDataLoss, "compare.differs"), ExitCode::kDiffers);
  EXPECT_EQ(code(ErrorCode::kDataLoss, "hash.differs"), ExitCode::kDiffers);
  EXPECT_EQ(code(ErrorCode::kDataLoss, "hashtree.malformed"), ExitCode::kSourceInvalid);
  EXPECT_EQ(code(ErrorCode::kDataLoss, "vmdk.header.magic"), ExitCode::kSourceInvalid);
  EXPECT_EQ(code(ErrorCode::kNotFound, "io.not_found"), ExitCode::kSourceInvalid);
  EXPECT_EQ(code(ErrorCode::kResourceExhausted, "io.no_space"), ExitCode::kStateLocked);
  EXPECT_EQ(code(ErrorCode::kPermissionDenied, "aws.access_denied"), ExitCode::kRefused);
  EXPECT_EQ(code(ErrorCode::kUnavailable, "aws.unavailable"), ExitCode::kUnreachable);
  EXPECT_EQ(code(ErrorCode::kUnavailable, "http.cut"), ExitCode::kUnreachable);
  EXPECT_EQ(code(ErrorCode::kFailedPrecondition, "check.failed"), ExitCode::kDidNotComeUp);
  EXPECT_EQ(code(ErrorCode::kCancelled, "http.stopped"), ExitCode::kInterrupted);
  EXPECT_EQ(code(ErrorCode::kInternal, "something.new"), ExitCode::kUnexpected);
}

TEST(DescribeError, TellsCauseRemedyReasonAndRequest) {
  const Error error = Error(ErrorCode::kUnavailable, "outer.reason", "cannot upload part 3")
                          .CausedBy(Error(ErrorCode::kUnavailable, "inner.reason", "cut off")
                                        .With("request_id", "R1")
                                        .WithRemedy("try again"))
                          .With("step", "transfer");
  EXPECT_EQ(DescribeError(error),
            "vmferry: cannot upload part 3\n"
            "  because: cut off\n"
            "  what to do: try again\n"
            "  reason: outer.reason, step transfer, request id R1\n");
}

TEST(FormatTable, PadsColumnsButNotTheLast) {
  EXPECT_EQ(FormatTable({{"a", "b"}, {"long", ""}, {"", "c"}}), "a     b\nlong\n      c\n");
}

migration::Progress HalfWay() {
  migration::Progress progress;
  progress.step = migration::Step::kTransfer;
  progress.disk = "disk.vmdk";
  progress.done_bytes = 50 << 20;
  progress.total_bytes = 100 << 20;
  progress.waiting_for = "upload";
  return progress;
}

TEST(ProgressLine, ShowsBarBytesRateAndTimeLeft) {
  EXPECT_EQ(
      ProgressLine(HalfWay(), 10 << 20, std::chrono::seconds(5), 200, true),
      "disk.vmdk  transfer  [##########..........]   50%  50 MiB of 100 MiB  10 MiB/s  ETA 5s "
      " upload");
}

TEST(ProgressLine, NeverExceedsTheTerminal) {
  EXPECT_EQ(ProgressLine(HalfWay(), 1, std::chrono::seconds(5), 30, true).size(), 30U);
}

TEST(ProgressLine, ShowsTimeWhereBytesAreNotCounted) {
  migration::Progress progress;
  progress.step = migration::Step::kLaunch;
  progress.disk = "d";
  progress.waiting_for = "instance: pending";
  EXPECT_EQ(ProgressLine(progress, 0, std::chrono::seconds(65), 200, true),
            "d  launch  instance: pending  1m05s");
}

TEST(DescribeRanges, ListsRangesAndSaysWhenThereAreMore) {
  EXPECT_EQ(DescribeRanges({}, true), "");
  EXPECT_EQ(DescribeRanges({{5, 1}, {1000, 512}}, false),
            "\nthey differ here:\nOFFSET    LENGTH\n5         1\n1000      512\nand more\n");
}

TEST(FormatExactSize, GivesTheBytesOnce) {
  EXPECT_EQ(FormatExactSize(512), "512 bytes");
  EXPECT_EQ(FormatExactSize(2147483648), "2 GiB (2147483648 bytes)");
}

TEST(FileNameOf, KeepsUrisWhole) {
  EXPECT_EQ(FileNameOf("/vms/disk.vmdk"), "disk.vmdk");
  EXPECT_EQ(FileNameOf("disk.vmdk"), "disk.vmdk");
  EXPECT_EQ(FileNameOf("nbd://host/disk"), "nbd://host/disk");
}

TEST(RateMeter, MeasuresTheLastTenSeconds) {
  RateMeter meter;
  const MonotonicTime start{std::chrono::hours(1)};
  EXPECT_EQ(meter.BytesPerSecond(), 0U);
  meter.Add(start, 0);
  meter.Add(start + std::chrono::seconds(2), 200);
  EXPECT_EQ(meter.BytesPerSecond(), 100U);
  for (int second = 3; second <= 60; ++second) {
    meter.Add(start + std::chrono::seconds(second), 200);
  }
  EXPECT_EQ(meter.BytesPerSecond(), 0U);
}

}  // namespace
}  // namespace vmferry::cli
