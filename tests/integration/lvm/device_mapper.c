/*
 * Copyright (c) 2026, the lunar.iscsi contributors
 * GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Preloaded, this is a device-mapper for the real lvm on any kernel: it answers the ioctls of linux/dm-ioctl.h, version 4.30, and keeps its devices
 * in the folder that LUNAR_DM names, as sysfs shows them (sys/...), beside what a kernel keeps to itself (dm/MINOR/). No data goes through it, and
 * the kernel's own device-mapper is not touched. A device is open as often as dm/MINOR/open says.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <linux/ioctl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MAJOR 252 /* where the kernel has none */
#define MINORS 64
#define DEVICES "/proc/devices"

/* what the kernel says of its devices, with device-mapper in it */
static const char *devices(void)
{
	static char text[65536];
	ssize_t length;
	int descriptor;

	if (!text[0] && (descriptor = (int)syscall(SYS_openat, AT_FDCWD, DEVICES, O_RDONLY)) >= 0) {
		length = read(descriptor, text, sizeof(text) - 64);
		close(descriptor);
		text[length > 0 ? length : 0] = 0;
		if (!strstr(text, " device-mapper\n"))
			sprintf(text + strlen(text), "%d device-mapper\n", MAJOR);
	}
	return text;
}

static unsigned own_major(void)
{
	const char *line = strstr(devices(), " device-mapper\n");

	while (line > devices() && line[-1] != '\n')
		line--;
	return (unsigned)atoi(line);
}

/* files: paths are below LUNAR_DM */

static char *in(char *path, const char *format, va_list words)
{
	int length = snprintf(path, 4096, "%s/", getenv("LUNAR_DM"));

	vsnprintf(path + length, 4096 - length, format, words);
	return path;
}

static void put(const char *text, const char *format, ...)
{
	char path[4096];
	va_list words;
	FILE *file;

	va_start(words, format);
	in(path, format, words);
	va_end(words);
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(path, 0755);
		*slash = '/';
	}
	if ((file = fopen(path, "w"))) {
		fputs(text, file);
		fclose(file);
	}
}

static char *get(char *text, size_t size, const char *format, ...)
{
	char path[4096];
	va_list words;
	size_t length = 0;
	FILE *file;

	va_start(words, format);
	in(path, format, words);
	va_end(words);
	if (!(file = fopen(path, "r")))
		return NULL;
	length = fread(text, 1, size - 1, file);
	fclose(file);
	while (length && text[length - 1] == '\n')
		length--;
	text[length] = 0;
	return text;
}

static void link_to(const char *to, const char *format, ...)
{
	char path[4096];
	va_list words;

	va_start(words, format);
	in(path, format, words);
	va_end(words);
	*strrchr(path, '/') = 0;
	mkdir(path, 0755);
	path[strlen(path)] = '/';
	if (symlink(to, path) && errno != EEXIST)
		perror(path);
}

static void drop(const char *format, ...)
{
	char path[4096], command[8192];
	va_list words;

	va_start(words, format);
	in(path, format, words);
	va_end(words);
	unsetenv("LD_PRELOAD");
	snprintf(command, sizeof(command), "rm -rf '%s'", path);
	if (system(command))
		perror(path);
}

/* devices; what was loaded and is not in use yet is "loaded", what is in use is "table": lines of start, length, type, parameters */

static int find(const struct dm_ioctl *asked)
{
	char text[DM_UUID_LEN];

	for (int number = 0; number < MINORS; number++) {
		if (!get(text, sizeof(text), "dm/%d/name", number))
			continue;
		if (asked->uuid[0]) {
			if (get(text, sizeof(text), "dm/%d/uuid", number) && !strcmp(text, asked->uuid))
				return number;
		} else if (asked->name[0] ? !strcmp(text, asked->name) : asked->dev == makedev(own_major(), number)) {
			return number;
		}
	}
	errno = ENXIO;
	return -1;
}

static int count_lines(const char *text)
{
	int lines = text && *text;

	for (; text && *text; text++)
		lines += *text == '\n';
	return lines;
}

static int describe(struct dm_ioctl *answer, int number)
{
	char text[65536];

	answer->dev = makedev(own_major(), number);
	answer->flags &= ~(DM_SUSPEND_FLAG | DM_ACTIVE_PRESENT_FLAG | DM_INACTIVE_PRESENT_FLAG | DM_BUFFER_FULL_FLAG);
	snprintf(answer->name, sizeof(answer->name), "%s", get(text, sizeof(text), "dm/%d/name", number));
	snprintf(answer->uuid, sizeof(answer->uuid), "%s", get(text, sizeof(text), "dm/%d/uuid", number) ?: "");
	answer->open_count = atoi(get(text, sizeof(text), "dm/%d/open", number) ?: "0");
	answer->event_nr = 0;
	if (get(text, sizeof(text), "dm/%d/loaded", number))
		answer->flags |= DM_INACTIVE_PRESENT_FLAG;
	if (get(text, sizeof(text), "sys/devices/virtual/block/dm-%d/dm/suspended", number) && text[0] == '1')
		answer->flags |= DM_SUSPEND_FLAG;
	answer->target_count = 0;
	if (get(text, sizeof(text), "dm/%d/table", number)) {
		answer->flags |= DM_ACTIVE_PRESENT_FLAG;
		answer->target_count = count_lines(text);
	}
	return 0;
}

static int make(struct dm_ioctl *asked)
{
	struct dm_ioctl by_name = *asked;
	char line[64];
	int number = 0;

	by_name.uuid[0] = 0;
	if (find(asked) >= 0 || find(&by_name) >= 0) {
		errno = EBUSY;
		return -1;
	}
	while (get(line, sizeof(line), "dm/%d/name", number))
		number++;
	put(asked->name, "dm/%d/name", number);
	put(asked->uuid, "dm/%d/uuid", number);
	put("0", "dm/%d/open", number);
	put(asked->name, "sys/devices/virtual/block/dm-%d/dm/name", number);
	put(asked->uuid, "sys/devices/virtual/block/dm-%d/dm/uuid", number);
	put("0", "sys/devices/virtual/block/dm-%d/dm/suspended", number);
	put("0", "sys/devices/virtual/block/dm-%d/size", number);
	snprintf(line, sizeof(line), "%u:%d", own_major(), number);
	put(line, "sys/devices/virtual/block/dm-%d/dev", number);
	snprintf(line, sizeof(line), "../devices/virtual/block/dm-%d", number);
	link_to(line, "sys/block/dm-%d", number);
	put("", "sys/class/block/.made");
	snprintf(line, sizeof(line), "../../devices/virtual/block/dm-%d", number);
	link_to(line, "sys/class/block/dm-%d", number);
	return describe(asked, number);
}

static int load(struct dm_ioctl *asked)
{
	struct dm_target_spec *target = (void *)((char *)asked + asked->data_start);
	char text[65536] = "";
	size_t length = 0;
	int number = find(asked);

	if (number < 0)
		return -1;
	for (unsigned at = 0; at < asked->target_count; at++, target = (void *)((char *)target + target->next))
		length += snprintf(text + length, sizeof(text) - length, "%s%llu %llu %s %s", at ? "\n" : "", (unsigned long long)target->sector_start,
				   (unsigned long long)target->length, target->target_type, (char *)(target + 1));
	put(text, "dm/%d/loaded", number);
	return describe(asked, number);
}

static int suspend_or_resume(struct dm_ioctl *asked)
{
	char text[65536], size[32];
	unsigned long long start, length, end = 0;
	int number = find(asked);

	if (number < 0)
		return -1;
	if (asked->flags & DM_SUSPEND_FLAG) {
		put("1", "sys/devices/virtual/block/dm-%d/dm/suspended", number);
		return describe(asked, number);
	}
	if (get(text, sizeof(text), "dm/%d/loaded", number)) {
		put(text, "dm/%d/table", number);
		drop("dm/%d/loaded", number);
	}
	if (get(text, sizeof(text), "dm/%d/table", number))
		for (char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
			if (sscanf(line, "%llu %llu", &start, &length) == 2)
				end = start + length;
	snprintf(size, sizeof(size), "%llu", end);
	put(size, "sys/devices/virtual/block/dm-%d/size", number);
	put("0", "sys/devices/virtual/block/dm-%d/dm/suspended", number);
	return describe(asked, number);
}

static int take_away(struct dm_ioctl *asked)
{
	char text[16];
	int number = find(asked);

	if (number < 0)
		return -1;
	if (atoi(get(text, sizeof(text), "dm/%d/open", number) ?: "0")) {
		errno = EBUSY;
		return -1;
	}
	drop("dm/%d", number);
	drop("sys/block/dm-%d", number);
	drop("sys/class/block/dm-%d", number);
	drop("sys/devices/virtual/block/dm-%d", number);
	return 0;
}

static int list_devices(struct dm_ioctl *asked)
{
	char *data = (char *)asked + asked->data_start, text[DM_NAME_LEN];
	struct dm_name_list *one = (void *)data, *last = NULL;

	memset(data, 0, sizeof(*one));
	for (int number = 0; number < MINORS; number++) {
		if (!get(text, sizeof(text), "dm/%d/name", number))
			continue;
		if (last)
			last->next = (char *)one - (char *)last;
		one->dev = makedev(own_major(), number);
		one->next = 0;
		strcpy(one->name, text);
		last = one;
		one = (void *)(((uintptr_t)one->name + strlen(text) + 1 + 7) & ~(uintptr_t)7);
	}
	asked->data_size = (char *)one - (char *)asked + sizeof(*one);
	return 0;
}

static int list_targets(struct dm_ioctl *asked)
{
	static const char *const types[] = { "error", "linear", "striped" };
	struct dm_target_versions *one = (void *)((char *)asked + asked->data_start), *last = NULL;

	for (unsigned at = 0; at < sizeof(types) / sizeof(*types); at++) {
		if (last)
			last->next = (char *)one - (char *)last;
		one->next = 0;
		one->version[0] = 1;
		one->version[1] = 4;
		one->version[2] = 0;
		strcpy(one->name, types[at]);
		last = one;
		one = (void *)(((uintptr_t)one->name + strlen(types[at]) + 1 + 7) & ~(uintptr_t)7);
	}
	asked->data_size = (char *)one - (char *)asked;
	return 0;
}

static int show_table(struct dm_ioctl *asked)
{
	struct dm_target_spec *target = (void *)((char *)asked + asked->data_start);
	char text[65536], *line = text, *next, *parameters;
	unsigned long long start, length;
	int number = find(asked), skip;

	if (number < 0 || describe(asked, number))
		return -1;
	if (!get(text, sizeof(text), "dm/%d/table", number))
		return 0;
	for (; line; line = next) {
		if ((next = strchr(line, '\n')))
			*next++ = 0;
		memset(target, 0, sizeof(*target));
		sscanf(line, "%llu %llu %15s %n", &start, &length, target->target_type, &skip);
		target->sector_start = start;
		target->length = length;
		parameters = (char *)(target + 1);
		strcpy(parameters, asked->flags & DM_STATUS_TABLE_FLAG ? line + skip : "");
		parameters = (char *)(((uintptr_t)parameters + strlen(parameters) + 1 + 7) & ~(uintptr_t)7);
		/* of what is shown, next counts from the first */
		target->next = parameters - ((char *)asked + asked->data_start);
		target = (void *)parameters;
	}
	asked->data_size = (char *)target - (char *)asked;
	return 0;
}

static int show_below(struct dm_ioctl *asked)
{
	struct dm_target_deps *below = (void *)((char *)asked + asked->data_start);
	char text[65536];
	unsigned major, minor;
	int number = find(asked), skip;

	if (number < 0 || describe(asked, number))
		return -1;
	below->count = 0;
	if (get(text, sizeof(text), "dm/%d/table", number))
		for (char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
			if (sscanf(line, "%*u %*u linear %u:%u%n", &major, &minor, &skip) == 2)
				below->dev[below->count++] = makedev(major, minor);
	asked->data_size = asked->data_start + sizeof(*below) + below->count * sizeof(below->dev[0]);
	return 0;
}

static int answer(unsigned long request, struct dm_ioctl *asked)
{
	int number;

	asked->version[0] = 4;
	asked->version[1] = 30;
	asked->version[2] = 0;
	switch (_IOC_NR(request)) {
	case DM_VERSION_CMD: return 0;
	case DM_LIST_DEVICES_CMD: return list_devices(asked);
	case DM_LIST_VERSIONS_CMD: return list_targets(asked);
	case DM_DEV_CREATE_CMD: return make(asked);
	case DM_DEV_REMOVE_CMD: return take_away(asked);
	case DM_DEV_SUSPEND_CMD: return suspend_or_resume(asked);
	case DM_DEV_STATUS_CMD: return (number = find(asked)) < 0 ? -1 : describe(asked, number);
	case DM_TABLE_LOAD_CMD: return load(asked);
	case DM_TABLE_STATUS_CMD: return show_table(asked);
	case DM_TABLE_DEPS_CMD: return show_below(asked);
	}
	errno = ENOTTY;
	return -1;
}

/* what is put in place of libc's */

int ioctl(int descriptor, unsigned long request, ...)
{
	va_list words;
	void *argument;

	va_start(words, request);
	argument = va_arg(words, void *);
	va_end(words);
	if (request == BLKRAGET) {
		*(long *)argument = 256;
		return 0;
	}
	return _IOC_TYPE(request) == DM_IOCTL ? answer(request, argument) : (int)syscall(SYS_ioctl, descriptor, request, argument);
}

static int open_file(const char *path, int flags, mode_t mode)
{
	return (int)syscall(SYS_openat, AT_FDCWD, strstr(path, "/mapper/") ? "/dev/null" : path, flags, mode);
}

#define OPEN(name)                                        \
	int name(const char *path, int flags, ...)        \
	{                                                 \
		va_list words;                            \
		mode_t mode;                              \
		va_start(words, flags);                   \
		mode = va_arg(words, mode_t);             \
		va_end(words);                            \
		return open_file(path, flags, mode);      \
	}

OPEN(open)
OPEN(open64)
OPEN(__open_2)
OPEN(__open64_2)

static FILE *open_stream(const char *path, const char *mode)
{
	int flags = mode[0] == 'r' ? O_RDONLY : O_WRONLY | O_CREAT | (mode[0] == 'a' ? O_APPEND : O_TRUNC);
	int descriptor;
	FILE *file;

	if (strcmp(path, DEVICES)) {
		if (strchr(mode, '+'))
			flags = (flags & ~O_WRONLY) | O_RDWR;
		descriptor = open_file(path, flags | O_CLOEXEC, 0666);
		return descriptor < 0 ? NULL : fdopen(descriptor, mode);
	}
	if ((file = tmpfile())) {
		fputs(devices(), file);
		rewind(file);
	}
	return file;
}

FILE *fopen(const char *path, const char *mode)
{
	return open_stream(path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
	return open_stream(path, mode);
}
