// The parts of NNG that Messaging uses. NNG 1.5.2 ships no pkg-config file, so the module map names the library.
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/tls/tls.h>
