// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"
#include "cli/render.h"

namespace vmferry::cli {

Session::Session(CommandContext& context, std::unique_ptr<store::Store> store,
                 std::unique_ptr<migration::EventSink> events)
    : store_(std::move(store)),
      events_(std::move(events)),
      operations_({.store = *store_,
                   .clock = context.world.clock,
                   .random = context.world.random,
                   .network = context.world.network,
                   .clouds = context.world.clouds,
                   .events = *events_,
                   .state_folder = context.world.folders.state}) {}

Result<std::unique_ptr<Session>> Session::Open(CommandContext& context) {
  World& world = context.world;
  VMFERRY_ASSIGN_OR_RETURN(std::unique_ptr<store::Store> store, world.open_store());
  std::unique_ptr<migration::EventSink> events;
  if (context.arguments.output == OutputForm::kJsonl) {
    events = MakeJsonRenderer(world.out, world.clock);
  } else if (world.talk_is_terminal) {
    events = MakeTerminalRenderer(world.talk, world.clock, world.columns);
  } else {
    events = MakePlainRenderer(world.talk, world.clock);
  }
  return std::unique_ptr<Session>(new Session(context, std::move(store), std::move(events)));
}

}  // namespace vmferry::cli
