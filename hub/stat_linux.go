package hub

import "syscall"

// largeFile lets files pass 2 GiB on 32-bit machines. os.OpenFile sets it,
// os.Root.OpenFile does not (Go 1.26).
const largeFile = syscall.O_LARGEFILE

func changed(st *syscall.Stat_t) int64 { return st.Ctim.Nano() }
