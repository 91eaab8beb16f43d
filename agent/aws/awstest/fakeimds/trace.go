package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
)

const timeOfDay = "15:04:05.000"

// trace prints a line for each thing that happens. Polls that are answered as
// the one before are not worth a line each.
type trace struct {
	mu   sync.Mutex
	w    io.Writer
	last map[string]int // the status last answered, by method and path
}

func newTrace(w io.Writer) *trace { return &trace{w: w, last: map[string]int{}} }

func (t *trace) printf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = fmt.Fprintf(t.w, time.Now().Format(timeOfDay)+"  "+format+"\n", args...)
}

func (t *trace) request(r awstest.Request) {
	key := r.Method + " " + r.Path
	t.mu.Lock()
	last, seen := t.last[key]
	t.last[key] = r.Status
	t.mu.Unlock()
	if seen && last == r.Status {
		return
	}
	if r.Status == 0 {
		t.printf("%s: no answer", key)
		return
	}
	t.printf("%s: %d", key, r.Status)
}
