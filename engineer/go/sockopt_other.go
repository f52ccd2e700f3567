//go:build !linux || mips || mipsle || mips64 || mips64le

package engineer

import "syscall"

const soReusePort = syscall.SO_REUSEPORT
