/* SPDX-License-Identifier: Apache-2.0 */
/* The few compiler extensions that the project uses, under one name each; and its assertions. */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#include <stddef.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#define NORETURN __attribute__((noreturn))
#define UNUSED __attribute__((unused))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* The struct that embeds `member`, from a pointer to that member. */
#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* Impossible: stops the process, in every build. Never on input. */
#define ASSERT(x) (LIKELY(x) ? (void)0 : compiler_assert_failed(#x, __FILE__, __LINE__))

/* Impossible, but survivable inside one session: logs, counts, is true. */
#define SURPRISE(x) (UNLIKELY(x) ? (compiler_surprised(#x, __FILE__, __LINE__), 1) : 0)

NORETURN void compiler_assert_failed(const char *what, const char *file, int line);
void compiler_surprised(const char *what, const char *file, int line);

#endif
