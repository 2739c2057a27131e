/*
 * Copyright (c) 2026, the lunar.iscsi contributors
 * GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Preloaded, this lets multipathd run on a kernel without device-mapper: there is a driver (one too old for events to be polled), it knows
 * multipath, and there is no map. All that multipathd does with its configuration and with those who ask it is its own.
 */

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define VERSION "4.30.0"

/* as libdevmapper.h has them */
struct dm_task;

struct dm_versions {
	uint32_t next;
	uint32_t version[3];
	char name[16];
};

struct dm_names {
	uint64_t dev;
	uint32_t next;
	char name[4];
};

static struct dm_versions multipath = { 0, { 1, 14, 0 }, "multipath" };
static struct dm_names none;

int dm_task_run(struct dm_task *task)
{
	(void)task;
	return 1;
}

int dm_driver_version(char *version, size_t size)
{
	return snprintf(version, size, VERSION) > 0;
}

int dm_task_get_driver_version(struct dm_task *task, char *version, size_t size)
{
	(void)task;
	return snprintf(version, size, VERSION) > 0;
}

struct dm_versions *dm_task_get_versions(struct dm_task *task)
{
	(void)task;
	return &multipath;
}

struct dm_names *dm_task_get_names(struct dm_task *task)
{
	(void)task;
	return &none;
}
