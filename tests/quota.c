/* Loaded before the C library (LD_PRELOAD): while the file $NO_QUOTA_WHILE exists, writing into
   files whose name ends in .h5 fails as where a user's quota is used up. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int refused(int fd) {
    char link[64], path[4096];
    const char *sign = getenv("NO_QUOTA_WHILE");
    if (!sign || access(sign, F_OK))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path);
    if (n < 3 || memcmp(path + n - 3, ".h5", 3))
        return 0;
    errno = EDQUOT;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    return refused(fd) ? -1 : NEXT(pwrite)(fd, data, n, at);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    return refused(fd) ? -1 : NEXT(pwrite64)(fd, data, n, at);
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at) {
    return refused(fd) ? -1 : NEXT(pwritev)(fd, v, n, at);
}

ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at) {
    return refused(fd) ? -1 : NEXT(pwritev64)(fd, v, n, at);
}

ssize_t write(int fd, const void *data, size_t n) {
    return refused(fd) ? -1 : NEXT(write)(fd, data, n);
}
