// What is set once a process and once a thread, before FAISS works.

#pragma once

namespace lake {

// One OpenBLAS thread, bounded tables. Cheap after the first time.
void settle_process();

// One OpenMP thread on this thread: searches run side by side, never within themselves.
void settle_search_thread();

}  // namespace lake
