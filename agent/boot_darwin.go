package agent

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebbtide/ebbtide/drain"
)

// ThisBoot reads the boot that the process runs in. macOS is for trying Ebbtide
// out: its monotonic clock counts on while the machine sleeps, as Linux'
// CLOCK_BOOTTIME does.
func ThisBoot() (drain.Boot, error) {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return drain.Boot{}, fmt.Errorf("reading the boot id: %w", err)
	}
	return drain.Boot{ID: id, Uptime: func() time.Duration {
		var now unix.Timespec
		// It cannot fail for a clock that every supported kernel has.
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
		return time.Duration(now.Nano())
	}}, nil
}
