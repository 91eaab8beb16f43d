package drain

import (
	"context"
	"time"
)

// lock is a mutex whose wait ends with a context.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

func (l lock) acquire(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l lock) release() { <-l }

// remembered is what one read has returned. Whoever holds lock may read anew; the
// rest is guarded by the mutex of HandOvers.
type remembered[T any] struct {
	lock  lock
	at    time.Time
	value T
}

// remember returns what is remembered under key, or reads it where that is older
// than age. Of several who ask at a time, one reads and the others wait for it.
func remember[T any](
	ctx context.Context, h *HandOvers, memory map[string]*remembered[T], key string, age time.Duration,
	read func(context.Context) (T, error),
) (T, error) {
	h.mu.Lock()
	r := memory[key]
	if r == nil {
		r = &remembered[T]{lock: newLock()}
		memory[key] = r
	}
	h.mu.Unlock()

	var none T
	if err := r.lock.acquire(ctx); err != nil {
		return none, err
	}
	defer r.lock.release()
	h.mu.Lock()
	value, fresh := r.value, time.Since(r.at) < age
	h.mu.Unlock()
	if fresh {
		return value, nil
	}
	value, err := read(ctx)
	if err != nil {
		return none, err
	}
	h.mu.Lock()
	r.value, r.at = value, time.Now()
	h.mu.Unlock()
	return value, nil
}
