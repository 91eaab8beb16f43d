package programrun

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"
)

// Record is one line of a program's log.
type Record struct {
	// Time is when the program wrote it, by the clock that it shares with us.
	Time    time.Time
	Level   string
	Message string

	fields map[string]json.RawMessage
}

// Decode stores the value of a key in target, as encoding/json does. A record without
// the key is an error that wraps [fs.ErrNotExist].
func (r Record) Decode(key string, target any) error {
	value, has := r.fields[key]
	if !has {
		return fmt.Errorf("reading %q of log line %q: %w", key, r.Message, fs.ErrNotExist)
	}
	if err := json.Unmarshal(value, target); err != nil {
		return fmt.Errorf("reading %q of log line %q: %w", key, r.Message, err)
	}
	return nil
}

// Text returns the value of a key: a text as it is, anything else as JSON, and an
// empty text if there is no such key.
func (r Record) Text(key string) string {
	var text string
	if r.Decode(key, &text) == nil {
		return text
	}
	return string(r.fields[key])
}

// Records returns what the program has logged so far.
func (p *Program) Records() []Record {
	records, _, _ := p.log.after(0)
	return slices.Clone(records)
}

// Output returns everything that the program has written so far, lines that are no log
// records too: a panic, or what the race detector has to say.
func (p *Program) Output() string { return p.log.output() }

// Log yields what the program has logged so far and then each record as it comes, until
// ctx or the program has ended.
func (p *Program) Log(ctx context.Context) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for read := 0; ; {
			records, more, ended := p.log.after(read)
			for _, record := range records {
				if !yield(record) {
					return
				}
			}
			read += len(records)
			if ended {
				return
			}
			select {
			case <-more:
			case <-ctx.Done():
				return
			}
		}
	}
}

// WaitLog returns the first record with that message, an old one too.
func (p *Program) WaitLog(ctx context.Context, message string) (Record, error) {
	record, err := p.WaitRecord(ctx, func(r Record) bool { return r.Message == message })
	if err != nil {
		return record, fmt.Errorf("waiting for log line %q: %w", message, err)
	}
	return record, nil
}

var errEnded = errors.New("the program has ended")

// WaitRecord returns the first record that matches, an old one too. When ctx or the
// program ends first, the error says so and quotes the last lines.
func (p *Program) WaitRecord(ctx context.Context, match func(Record) bool) (Record, error) {
	for record := range p.Log(ctx) {
		if match(record) {
			return record, nil
		}
	}
	why := errEnded
	if ctx.Err() != nil {
		why = context.Cause(ctx)
	}
	return Record{}, fmt.Errorf("%w; its last lines: %s", why, lastLines(p.Output(), 3))
}

func lastLines(output string, n int) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}

// recorder takes a program's output apart.
type recorder struct {
	mu      sync.Mutex
	all     bytes.Buffer
	line    int // where in all the line begins that is not finished
	records []Record
	ended   bool
	more    chan struct{} // closed and replaced when there is more to read
}

func newRecorder() *recorder { return &recorder{more: make(chan struct{})} }

// Write takes output. It never fails.
func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all.Write(p)
	before := len(r.records)
	for {
		line, _, finished := bytes.Cut(r.all.Bytes()[r.line:], []byte("\n"))
		if !finished {
			break
		}
		r.line += len(line) + 1
		if record, is := parseRecord(line); is {
			r.records = append(r.records, record)
		}
	}
	if len(r.records) > before {
		r.wake()
	}
	return len(p), nil
}

func (r *recorder) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	r.wake()
}

func (r *recorder) wake() {
	close(r.more)
	r.more = make(chan struct{})
}

// after returns the records but for the first n, a channel that is closed when there
// are more or there will be none, and whether that is so.
func (r *recorder) after(n int) (records []Record, more <-chan struct{}, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.records[n:], r.more, r.ended
}

func (r *recorder) output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.String()
}

// parseRecord reads a line of slog's JSON handler. Anything else is not a record.
func parseRecord(line []byte) (Record, bool) {
	var record Record
	if json.Unmarshal(line, &record.fields) != nil {
		return record, false
	}
	complete := record.Decode("time", &record.Time) == nil &&
		record.Decode("level", &record.Level) == nil && record.Decode("msg", &record.Message) == nil
	return record, complete
}
