# flywheel_library(NAME DEPENDS ... LIBRARIES ... EXCLUDE ...): every *.c of the folder but its main_*.c.
# flywheel_program(NAME main_x.c DEPENDS ...): one program of a tier.

add_library(fw_flags INTERFACE)
target_compile_options(fw_flags INTERFACE
  -ffp-contract=off -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes
  -Wmissing-prototypes -Wvla -Wundef -Wcast-qual -Wformat=2 -Wdouble-promotion -fno-common
  $<$<BOOL:${FLYWHEEL_WERROR}>:-Werror>)
target_compile_definitions(fw_flags INTERFACE _GNU_SOURCE)
# Includes are written from the repository root: tests/lint proves the layer table from them.
target_include_directories(fw_flags INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
if(FLYWHEEL_SANITIZE)
  target_compile_options(fw_flags INTERFACE -fsanitize=${FLYWHEEL_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(fw_flags INTERFACE -fsanitize=${FLYWHEEL_SANITIZE})
endif()

function(flywheel_library name)
  cmake_parse_arguments(arg "" "" "DEPENDS;LIBRARIES;EXCLUDE" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} *.c)
  list(FILTER sources EXCLUDE REGEX "^main_")
  if(arg_EXCLUDE)
    list(REMOVE_ITEM sources ${arg_EXCLUDE})
  endif()
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC fw_flags ${arg_DEPENDS} PRIVATE ${arg_LIBRARIES})
endfunction()

function(flywheel_program name main)
  cmake_parse_arguments(arg "" "" "DEPENDS" ${ARGN})
  add_executable(${name} ${main})
  target_link_libraries(${name} PRIVATE fw_flags ${arg_DEPENDS})
  install(TARGETS ${name} RUNTIME)
endfunction()
