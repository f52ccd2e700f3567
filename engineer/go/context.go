package engineer

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Context ends when the process gets SIGTERM or SIGINT. From the first call on these signals do not
// end the process any more; the app has to. (A second SIGINT does: somebody at a terminal insists.)
//
// Workers, and handlers that hijacked their connection or never end their response, learn from it
// that they shall finish.
func Context() context.Context { return terminated() }

var terminated = sync.OnceValue(func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-signals
		cancel()
		// SIGTERM stays caught: the machine's end may send another one in the middle of a drain.
		signal.Reset(os.Interrupt)
	}()
	return ctx
})
