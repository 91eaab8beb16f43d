package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
)

// tone is how a line is coloured, as the parameter of an ANSI escape sequence.
type tone string

const (
	plain tone = ""
	faint tone = "2"
	loud  tone = "1"
	good  tone = "32"
	warn  tone = "33"
	bad   tone = "31"
)

// screen writes lines, and on a terminal keeps one line of status below them. Several
// goroutines may use it.
type screen struct {
	live   bool
	colour bool

	mu      sync.Mutex
	out     io.Writer
	current string // the status on the terminal
	rest    []byte // of what came through Write
}

// newScreen writes to out. On a terminal it shows a status, and colours if wanted.
func newScreen(out io.Writer, terminal, colours bool) *screen {
	return &screen{out: out, live: terminal, colour: terminal && colours}
}

// line writes one line above the status.
func (s *screen) line(t tone, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.print(s.paint(t, fmt.Sprintf(format, args...)))
}

// status replaces the status; an empty one removes it. Off a terminal it does nothing.
func (s *screen) status(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live && text != s.current {
		_, _ = io.WriteString(s.out, "\r\033[K"+s.paint(faint, text))
		s.current = text
	}
}

// Write writes complete lines, for those who show their progress to an [io.Writer].
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = append(s.rest, p...)
	for {
		text, rest, complete := bytes.Cut(s.rest, []byte("\n"))
		if !complete {
			return len(p), nil
		}
		s.rest = rest
		s.print(s.paint(faint, "  "+string(text)))
	}
}

// print needs the lock. Nobody can be told that a terminal has gone.
func (s *screen) print(text string) {
	var all strings.Builder
	if s.current != "" {
		all.WriteString("\r\033[K")
	}
	all.WriteString(text + "\n")
	if s.current != "" {
		all.WriteString(s.paint(faint, s.current))
	}
	_, _ = io.WriteString(s.out, all.String())
}

func (s *screen) paint(t tone, text string) string {
	if !s.colour || t == plain || text == "" {
		return text
	}
	return "\033[" + string(t) + "m" + text + "\033[0m"
}
