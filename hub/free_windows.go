package hub

import "golang.org/x/sys/windows"

// free returns the bytes that dir's volume can still take for this user, and -1
// for files, which Windows does not count.
func free(dir string) (bytes, files int64) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return -1, -1
	}
	var n uint64
	if err := windows.GetDiskFreeSpaceEx(p, &n, nil, nil); err != nil {
		return -1, -1
	}
	return int64(min(n, 1<<62)), -1
}
