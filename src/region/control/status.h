// SPDX-License-Identifier: Apache-2.0
//
// What `vmferry region status` tells of a running region beside where it is.

#pragma once

#include "region/core/context.h"
#include "region/import/image_tasks.h"
#include "region/import/importer.h"
#include "region/vm/disks.h"
#include "region/vm/images.h"
#include "region/vm/instances.h"
#include "text/json.h"

namespace vmferry::region::control {

/// Members: "instances" (id, state, check, type, ssh_port while running), "tasks" (id, state,
/// message), "images" (id, name, state), "volumes" and "snapshots" (counts by state), "space_bytes"
/// (on disk: total, and by what it is for). Lists have at most 1,000 entries.
Result<text::Json> StatusOf(const Context& context, vm::Disks& disks, vm::Images& images,
                            vm::Instances& instances, Importer& importer, ImageTasks& image_tasks);

}  // namespace vmferry::region::control
