package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// sleep is a process that needs its grace: told to stop, it ends linger later.
func sleep(ctx context.Context, o options, log *slog.Logger) error {
	log.Info("Started")
	<-ctx.Done()
	log.Info("Was told to stop")
	<-time.After(o.linger)
	log.Info("Ended")
	return nil
}

// keep is a process with state: what it wrote is only safe when its flush is through.
func keep(ctx context.Context, o options, log *slog.Logger) (err error) {
	file, err := os.OpenFile(filepath.Join(o.dir, "journal"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening journal: %w", err)
	}
	defer func() {
		if closing := file.Close(); err == nil && closing != nil {
			err = fmt.Errorf("closing journal: %w", closing)
		}
	}()
	log.Info("Started")
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for entry := 1; ; entry++ {
		if _, err := fmt.Fprintln(file, entry); err != nil {
			return fmt.Errorf("writing journal: %w", err)
		}
		select {
		case <-ticker.C:
			continue
		case <-ctx.Done():
		}
		log.Info("Was told to stop", "entries", entry)
		<-time.After(o.linger) // as a database writes out its pages
		if err := file.Sync(); err != nil {
			return fmt.Errorf("flushing journal: %w", err)
		}
		log.Info("Ended", "entries", entry)
		return nil
	}
}

// firstOutput is the output of the container's first process, which is where the
// kubelet reads the container's log from; a hook's own output goes nowhere.
const firstOutput = "/proc/1/fd/1"

// prestop is a hook that takes its time. The kubelet kills it when the grace is over;
// its last line is there only if it was let finish.
func prestop(_ context.Context, o options, _ *slog.Logger) (err error) {
	out, err := os.OpenFile(firstOutput, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("opening the container's log: %w", err)
	}
	defer func() {
		if closing := out.Close(); err == nil && closing != nil {
			err = fmt.Errorf("closing the container's log: %w", closing)
		}
	}()
	log := slog.New(slog.NewJSONHandler(out, nil))
	log.Info("Hook began")
	<-time.After(o.linger)
	log.Info("Hook ended")
	return nil
}
