package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"
)

// serve is a server that knows how Services work: after SIGTERM its address is still
// in the tables of other nodes for a moment, so it answers until linger is over, and
// only then closes its listener and lets the requests under way end.
func serve(ctx context.Context, o options, log *slog.Logger) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listening on %q: %w", o.listen, err)
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("reading the host's name: %w", err)
	}
	server := &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, host+"\n")
		}),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("Started", "address", listener.Addr().String())
	select {
	case err := <-served:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	log.Info("Was told to stop")
	<-time.After(o.linger)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.linger+time.Second)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		return fmt.Errorf("closing the listener: %w", err)
	}
	log.Info("Ended")
	return nil
}

// fetch counts the requests that got no 200. Each is on a connection of its own, so
// that each one asks anew which pod stands behind the Service.
func fetch(ctx context.Context, o options, log *slog.Logger) error {
	if o.url == "" {
		return errors.New("the flag --url is not set")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return repeat(ctx, o, log, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, o.url, http.NoBody)
		if err != nil {
			return fmt.Errorf("creating request: %w", err)
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("requesting %q: %s", o.url, response.Status)
		}
		_, err = io.Copy(io.Discard, response.Body)
		return err
	})
}

// lookup counts the questions that got no address. Go's own resolver has no cache.
func lookup(ctx context.Context, o options, log *slog.Logger) error {
	if o.name == "" {
		return errors.New("the flag --name is not set")
	}
	resolver := &net.Resolver{PreferGo: true}
	return repeat(ctx, o, log, func(ctx context.Context) error {
		_, err := resolver.LookupHost(ctx, o.name)
		return err
	})
}

// repeat tries until ctx ends, and logs each failure, a count every second in which a
// test may see that the tries go on, and the whole count at the end. A failure of
// the try that the end itself cut short does not count.
func repeat(ctx context.Context, o options, log *slog.Logger, try func(context.Context) error) error {
	log.Info("Started")
	ticker := time.NewTicker(o.every)
	defer ticker.Stop()
	tries, failures, told := 0, 0, time.Now()
	for {
		began := time.Now()
		limited, cancel := context.WithTimeout(ctx, o.limit)
		err := try(limited)
		cancel()
		if ctx.Err() != nil {
			log.Info("Ended", "tries", tries, "failures", failures)
			return nil
		}
		tries++
		if err != nil {
			failures++
			log.Warn("Try failed", "err", err, "began", began)
		}
		if time.Since(told) >= time.Second {
			told = time.Now()
			log.Info("Counted", "tries", tries, "failures", failures)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}
