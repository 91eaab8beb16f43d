package agent

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebbtide/ebbtide/drain"
)

// ThisBoot reads the boot that the process runs in. A container sees its
// host's: neither the id nor CLOCK_BOOTTIME is namespaced unless a time
// namespace was made on purpose.
func ThisBoot() (drain.Boot, error) {
	const path = "/proc/sys/kernel/random/boot_id"
	id, err := os.ReadFile(path)
	if err != nil {
		return drain.Boot{}, fmt.Errorf("reading the boot id: %w", err)
	}
	return drain.Boot{ID: strings.TrimSpace(string(id)), Uptime: func() time.Duration {
		var now unix.Timespec
		// It cannot fail for a clock that every supported kernel has.
		_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
		return time.Duration(now.Nano())
	}}, nil
}
