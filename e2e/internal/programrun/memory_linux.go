package programrun

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory reads how much memory the program has, from /proc/PID/smaps_rollup.
func (p *Program) Memory() (Memory, error) {
	path := fmt.Sprintf("/proc/%d/smaps_rollup", p.PID())
	content, err := os.ReadFile(path)
	if err != nil {
		return Memory{}, fmt.Errorf("reading the memory of %s: %w", p.name, err)
	}
	memory, err := parseRollup(content)
	if err != nil {
		return Memory{}, fmt.Errorf("parsing %q: %w", path, err)
	}
	return memory, nil
}

// parseRollup reads lines such as "Rss:   24960 kB".
func parseRollup(content []byte) (Memory, error) {
	var memory Memory
	missing := map[string]*int64{"Rss:": &memory.Resident, "Anonymous:": &memory.Anonymous}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) != 3 || missing[words[0]] == nil {
			continue
		}
		kibibytes, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return Memory{}, fmt.Errorf("reading line %q: %w", lines.Text(), err)
		}
		*missing[words[0]] = kibibytes << 10
		delete(missing, words[0])
	}
	for name := range missing {
		return Memory{}, fmt.Errorf("finding line %q: %w", name, os.ErrNotExist)
	}
	return memory, nil
}
