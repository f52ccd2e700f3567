//go:build !(mips || mipsle || mips64 || mips64le)

package engineer

// Package syscall has it for some of Linux's architectures only; MIPS alone has another number.
const soReusePort = 0xf
