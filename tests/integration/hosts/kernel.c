/*
 * Copyright (c) 2026, the lunar.iscsi contributors
 * GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Preloaded, this connects iscsiadm's netlink socket to whoever listens at the path in ISCSI_KERNEL (adapter.py) instead of to the kernel,
 * which has no adapter. What iscsiadm makes of its arguments and of the answers is all its own.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define NETLINK_ISCSI 8

static int ours = -1;

int socket(int domain, int type, int protocol)
{
	int (*real)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
	struct sockaddr_un kernel = { .sun_family = AF_UNIX };
	const char *path = getenv("ISCSI_KERNEL");

	if (domain != AF_NETLINK || protocol != NETLINK_ISCSI || path == NULL)
		return real(domain, type, protocol);
	ours = real(AF_UNIX, SOCK_SEQPACKET, 0);
	strncpy(kernel.sun_path, path, sizeof(kernel.sun_path) - 1);
	if (ours < 0 || connect(ours, (struct sockaddr *)&kernel, sizeof(kernel)))
		return -1;
	return ours;
}

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
	int (*real)(int, const struct sockaddr *, socklen_t) = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "bind");

	return fd == ours ? 0 : real(fd, address, length);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	ssize_t (*real)(int, const struct msghdr *, int) = (ssize_t (*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
	struct msghdr copy = *message;

	if (fd == ours) {
		copy.msg_name = NULL;
		copy.msg_namelen = 0;
	}
	return real(fd, &copy, flags);
}
