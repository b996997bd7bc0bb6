// Turns C++ exceptions into a status and a message.

#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>

#include "shim.h"

namespace lake {

// The sink of lake_write had enough.
struct SinkFull : std::exception {
    const char* what() const noexcept override { return "the sink refused the bytes"; }
};

inline void tell(lake_message message, const char* text) noexcept {
    if (message.capacity == 0) {
        return;
    }
    const size_t length = std::min(std::strlen(text), message.capacity - 1);
    std::memcpy(message.text, text, length);
    message.text[length] = '\0';
}

template <class Work>
int32_t guarded(lake_message message, Work&& work) noexcept {
    try {
        work();
        return LAKE_OK;
    } catch (const SinkFull&) {
        return LAKE_SINK;
    } catch (const std::bad_alloc&) {
        return LAKE_MEMORY;
    } catch (const std::exception& error) {
        tell(message, error.what());
        return LAKE_REFUSED;
    } catch (...) {
        tell(message, "an exception that is no std::exception");
        return LAKE_REFUSED;
    }
}

}  // namespace lake
