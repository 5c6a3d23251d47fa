package hub

import "syscall"

const largeFile = 0

func changed(st *syscall.Stat_t) int64 { return st.Ctimespec.Nano() }
